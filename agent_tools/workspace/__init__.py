"""What an assistant does in a repository: safe paths, git, tests."""
