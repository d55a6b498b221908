"""What every client does here: list the tools, run `hello`, ask how it ended, and print one line of JSON.

The two SDKs differ in how they connect and in nothing else that a user of Windlass should notice.
"""

import asyncio
import json
import sys
import time

ENDED = ("completed", "failed", "cancelled")
PATIENCE_SECONDS = 30


def target():
    """What the command line names: an address (str), or a command to start (list)."""
    if len(sys.argv) < 2:
        sys.exit("usage: CLIENT URL | CLIENT COMMAND ARGUMENT...")
    first = sys.argv[1]
    return first if first.startswith(("http:", "https:")) else sys.argv[1:]


async def session(protocol_version, server, list_tools, call_tool):
    """`call_tool(name, arguments)` returns (is_error, content, structured)."""

    async def call(name, arguments):
        is_error, content, structured = await call_tool(name, arguments)
        if is_error:
            raise RuntimeError(f"{name} failed: {content}")
        return structured

    tools = [tool.name for tool in (await list_tools()).tools]
    run = await call("workflow.run", {"workflow": "hello", "input": {"name": "Ada"}})
    status = await ended(call, run["execution_id"])
    said = {"protocol_version": protocol_version, "server": server, "tools": tools, "run": run, "status": status}
    print(json.dumps(said))


async def ended(call, execution_id):
    """Asks for the status until the execution has ended."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        status = await call("workflow.status", {"execution_id": execution_id})
        if status["status"] in ENDED:
            return status
        if until < time.monotonic():
            raise RuntimeError(f"still not ended: {status}")
        await asyncio.sleep(0.05)
