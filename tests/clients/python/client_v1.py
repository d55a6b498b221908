"""The SDK that most clients still carry; it ends at protocol 2025-11-25."""

import asyncio
import os

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from session import session, target


def transport(of):
    if isinstance(of, str):
        return streamable_http_client(of)
    return stdio_client(StdioServerParameters(command=of[0], args=of[1:], env=dict(os.environ)))


async def main():
    async with transport(target()) as (read, write, *_), ClientSession(read, write) as client:
        said = await client.initialize()

        async def call_tool(name, arguments):
            result = await client.call_tool(name, arguments)
            return result.isError, result.content, result.structuredContent

        info = {"name": said.serverInfo.name, "version": said.serverInfo.version}
        await session(said.protocolVersion, info, client.list_tools, call_tool)


asyncio.run(main())
