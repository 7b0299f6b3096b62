"""A hub in memory: as much of the Hugging Face Hub's HTTP as generators and zoos need."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|preupload|commit|tree)/.*)?")
FILE = re.compile(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/[^/]+/(.+)")


class Hub(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[tuple[str, str], dict[str, bytes]] = {}
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_):
        pass

    def reply(self, body, code=200, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def missing(self):
        self.reply({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        if match := API.fullmatch(path):
            files = self.server.repos.get((match[1], match[2]))
            if files is None:
                return self.missing()
            siblings = [{"rfilename": k, "size": len(v), "blobId": "0"} for k, v in files.items()]
            return self.reply({"id": match[2], "sha": "a" * 40, "siblings": siblings})
        if match := FILE.fullmatch(path):
            files = self.server.repos.get((match[1] or "models", match[2]), {})
            if match[3] not in files:
                return self.missing()
            data = files[match[3]]
            etag = f'"{hashlib.sha256(data).hexdigest()}"'
            return self.reply(data, ETag=etag, X_Repo_Commit="a" * 40)
        self.missing()

    do_HEAD = do_GET

    def do_POST(self):
        path = self.path.partition("?")[0]
        self.server.asked.append(f"POST {path}")
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if path == "/api/repos/create":
            asked = json.loads(body)
            kind = f"{asked.get('type') or 'model'}s"
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.server.repos.setdefault((kind, name), {})
            return self.reply({"url": f"{self.server.address}/{name}", "id": name, "name": name})
        if path == "/api/validate-yaml":
            return self.reply({"errors": [], "warnings": []})
        match = API.fullmatch(path)
        if match and match[3] == "preupload":
            files = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
            ]
            return self.reply({"files": modes})
        if match and match[3] == "commit":
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    data = base64.b64decode(value["content"])
                    self.server.repos[match[1], match[2]][value["path"]] = data
            url = f"{self.server.address}/{match[2]}/commit/{'b' * 40}"
            return self.reply({"commitUrl": url, "commitOid": "b" * 40, "success": True})
        self.missing()
