/** The current SDK, which speaks protocol 2026-07-28 to a server that does. */

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { main, type Connected, type Target } from "./session.ts";

async function connect(target: Target): Promise<Connected> {
  const client = new Client(
    { name: "typescript-v2", version: "1.0.0" },
    { versionNegotiation: { mode: "auto" } },
  );
  await client.connect(
    "url" in target
      ? new StreamableHTTPClientTransport(target.url)
      : new StdioClientTransport({ ...target, env: process.env as Record<string, string>, stderr: "inherit" }),
  );
  return {
    protocolVersion: client.getNegotiatedProtocolVersion(),
    serverInfo: client.getServerVersion(),
    listTools: () => client.listTools(),
    callTool: (params) => client.callTool(params),
    close: () => client.close(),
  };
}

await main(connect);
