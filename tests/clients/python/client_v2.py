"""The current SDK, which speaks protocol 2026-07-28 to a server that does."""

import asyncio
import os

from mcp import Client, StdioServerParameters

from session import session, target


def server(of):
    if isinstance(of, str):
        return of
    return StdioServerParameters(command=of[0], args=of[1:], env=dict(os.environ))


async def main():
    async with Client(server(target())) as client:

        async def call_tool(name, arguments):
            result = await client.call_tool(name, arguments)
            return result.is_error, result.content, result.structured_content

        info = client.server_info
        info = info and {"name": info.name, "version": info.version}
        await session(client.protocol_version, info, client.list_tools, call_tool)


asyncio.run(main())
