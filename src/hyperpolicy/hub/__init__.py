"""Generators and zoos by name, `user/name`: from folders, mirrors, or the Hugging Face Hub."""
