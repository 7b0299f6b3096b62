// Robots as MuJoCo has them, drawn by three: a mesh a geom, a color a policy.
import * as THREE from "three";

const PLANE = 0, SPHERE = 2, CAPSULE = 3, ELLIPSOID = 4, CYLINDER = 5, BOX = 6;

function geometry(type, [a, b, c]) {
  if (type === SPHERE) return new THREE.SphereGeometry(a, 24, 16);
  if (type === BOX) return new THREE.BoxGeometry(2 * a, 2 * b, 2 * c);
  if (type === ELLIPSOID) return new THREE.SphereGeometry(1, 24, 16).scale(a, b, c);
  const upright = type === CAPSULE ? new THREE.CapsuleGeometry(a, 2 * b, 8, 20)
    : type === CYLINDER ? new THREE.CylinderGeometry(a, a, 2 * b, 24) : null;
  return upright && upright.rotateX(Math.PI / 2); // MuJoCo's lie along z
}

/** One robot's meshes; `color` is its policy's. */
class Robot {
  constructor(scene, color, clear) {
    this.group = new THREE.Group();
    this.material = new THREE.MeshStandardMaterial({
      color, roughness: 0.6, transparent: clear < 1, opacity: clear,
    });
    this.meshes = [];
    scene.add(this.group);
  }

  /** Meshes for the geoms of a world's model, whose sizes may have changed. */
  build(world) {
    for (const { mesh } of this.meshes) {
      this.group.remove(mesh);
      mesh.geometry.dispose();
    }
    const { model } = world;
    const types = Array.from(model.geom_type), sizes = Array.from(model.geom_size);
    this.meshes = types.flatMap((type, i) => {
      const shape = type === PLANE ? null : geometry(type, sizes.slice(3 * i, 3 * i + 3));
      if (!shape) return [];
      const mesh = new THREE.Mesh(shape, this.material);
      mesh.matrixAutoUpdate = false;
      this.group.add(mesh);
      return [{ mesh, i }];
    });
    this.body = world.body;
  }

  place(world, lane) {
    if (this.body !== world.body || !this.meshes.length) this.build(world);
    const { geom_xpos: p, geom_xmat: r } = world.data;
    for (const { mesh, i } of this.meshes) {
      const m = 9 * i;
      mesh.matrix.set(
        r[m], r[m + 1], r[m + 2], p[3 * i], r[m + 3], r[m + 4], r[m + 5], p[3 * i + 1] + lane,
        r[m + 6], r[m + 7], r[m + 8], p[3 * i + 2], 0, 0, 0, 1,
      );
    }
  }
}

/** A canvas with a floor, a light, a camera that follows, and some robots. */
export class Scene {
  constructor(canvas, still) {
    this.canvas = canvas;
    this.still = still;
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
    this.scene = new THREE.Scene();
    this.camera = new THREE.PerspectiveCamera(40, 1, 0.05, 400);
    this.camera.up.set(0, 0, 1);
    this.scene.add(new THREE.HemisphereLight(0xffffff, 0x888888, 2.2));
    const sun = new THREE.DirectionalLight(0xffffff, 1.6);
    sun.position.set(3, -4, 8);
    this.scene.add(sun);
    const flat = new THREE.MeshBasicMaterial({ transparent: true, depthWrite: false });
    this.floor = new THREE.Mesh(new THREE.PlaneGeometry(200, 200), flat);
    this.scene.add(this.floor);
    this.target = new THREE.Vector3();
    this.robots = [];
  }

  /** Colors of the page: the floor's squares, a meter each, and each policy's. */
  paint(dark, colors) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 64;
    const context = canvas.getContext("2d");
    context.fillStyle = dark;
    context.globalAlpha = 0.16;
    context.fillRect(0, 0, 32, 32);
    context.fillRect(32, 32, 32, 32);
    const squares = new THREE.CanvasTexture(canvas);
    squares.wrapS = squares.wrapT = THREE.RepeatWrapping;
    squares.repeat.set(100, 100);
    squares.anisotropy = this.renderer.capabilities.getMaxAnisotropy();
    this.floor.material.map?.dispose();
    this.floor.material.map = squares;
    this.floor.material.needsUpdate = true;
    this.robots.forEach((robot, i) => robot.material.color.set(colors[i]));
  }

  /** Robots for so many policies, the first one solid. */
  cast(colors) {
    for (const robot of this.robots) this.scene.remove(robot.group);
    this.robots = colors.map((color, i) => new Robot(this.scene, color, i ? 0.55 : 1));
    this.fresh = true;
  }

  draw(worlds, record, passed) {
    const lane = record.planar ? 0.5 * record.extent ** 0.3 : 0;
    worlds.forEach((world, i) => this.robots[i].place(world, i * lane));
    this.robots.forEach((robot, i) => (robot.group.visible = i < worlds.length));
    const first = worlds[0].data.xpos;
    const at = new THREE.Vector3(first[3], first[4], Math.max(0.4, Math.min(first[5], 1)));
    const glide = this.still || this.fresh ? 1 : 1 - Math.exp(-6 * passed);
    this.target.lerp(at, glide);
    this.fresh = false;
    const away = record.planar ? [0.6, -4.2, 1.5] : [1.5, -6.5, 4.2];
    this.camera.position.set(this.target.x + away[0], this.target.y + away[1], away[2]);
    this.camera.lookAt(this.target.x, this.target.y + lane, this.target.z * 0.8);
    const near = (x) => 2 * Math.round(x / 2); // whole squares
    this.floor.position.set(near(this.target.x), near(this.target.y), 0);
    this.resize();
    this.renderer.render(this.scene, this.camera);
  }

  resize() {
    const { clientWidth: w, clientHeight: h } = this.canvas;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    if (this.canvas.width !== Math.round(w * ratio) || this.canvas.height !== Math.round(h * ratio)) {
      this.renderer.setPixelRatio(ratio);
      this.renderer.setSize(w, h, false);
      this.camera.aspect = w / h;
      this.camera.updateProjectionMatrix();
    }
  }
}

/** The weights of a policy as one picture: a block a layer, a pixel a number. */
export function picture(canvas, policy, weights) {
  const gap = 2;
  const shapes = policy.layers.map(([i, o]) => (o > i ? [o, i] : [i, o]));
  canvas.width = shapes.reduce((w, [, across]) => w + across + gap, -gap);
  canvas.height = Math.max(...shapes.map(([down]) => down));
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  let at = 0, left = 0;
  policy.layers.forEach(([i, o], n) => {
    const block = weights.subarray(at, at + i * o);
    const most = Math.max(...block.map(Math.abs)) || 1;
    const [down, across] = shapes[n];
    const image = context.createImageData(across, down);
    for (let a = 0; a < i; a++) for (let b = 0; b < o; b++) {
      const x = block[a * o + b] / most;
      const [row, column] = o > i ? [b, a] : [a, b];
      const k = 4 * (row * across + column);
      const strength = Math.sqrt(Math.abs(x));
      const [r, g, blue] = x < 0 ? [0, 114, 178] : [230, 159, 0];
      image.data.set([r, g, blue, 255 * strength], k);
    }
    context.putImageData(image, left, 0);
    left += across + gap;
    at += i * o + o;
  });
}
