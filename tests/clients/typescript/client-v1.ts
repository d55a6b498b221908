/** The SDK that most clients still carry; it ends at protocol 2025-11-25. */

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { main, type Connected, type Target } from "./session.ts";

async function connect(target: Target): Promise<Connected> {
  const client = new Client({ name: "typescript-v1", version: "1.0.0" });
  const transport: Transport & { protocolVersion?: string } =
    "url" in target
      ? new StreamableHTTPClientTransport(target.url)
      : new StdioClientTransport({ ...target, env: process.env as Record<string, string>, stderr: "inherit" });
  const negotiated = negotiatedBy(transport);
  await client.connect(transport);
  return {
    protocolVersion: await negotiated,
    serverInfo: client.getServerVersion(),
    listTools: () => client.listTools(),
    callTool: (params) => client.callTool(params) as Promise<object>,
    close: () => client.close(),
  };
}

/** This SDK tells only the transport which version was agreed on. */
function negotiatedBy(transport: Transport): Promise<string> {
  return new Promise((resolve) => {
    const tell = transport.setProtocolVersion?.bind(transport);
    transport.setProtocolVersion = (version) => {
      tell?.(version);
      resolve(version);
    };
  });
}

await main(connect);
