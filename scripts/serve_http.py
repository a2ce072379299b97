"""Serve a repository over HTTP on this machine for a judge: `python scripts/serve_http.py ROOT PORT`."""

import sys
from pathlib import Path

from agent_tools.server import WorkbenchServer
from agent_tools.workspace.root import Root

if __name__ == "__main__":
    WorkbenchServer(Root.at(Path(sys.argv[1]))).run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
