/**
 * What every client does here: list the tools, run `hello`, ask how it ended, and print one line of JSON.
 * The two SDKs differ in how they connect and in nothing else that a user of Windlass should notice.
 */

export interface Result {
  isError?: boolean;
  content?: unknown;
  structuredContent?: unknown;
}

/** The part of an SDK's client that is used. */
export interface Connected {
  protocolVersion: string | undefined;
  serverInfo: unknown;
  listTools(): Promise<{ tools: { name: string }[] }>;
  callTool(params: { name: string; arguments: Record<string, unknown> }): Promise<Result>;
  close(): Promise<void>;
}

/** How the server is reached: a command to start, or an address. */
export type Target = { command: string; args: string[] } | { url: URL };

const ENDED = ["completed", "failed", "cancelled"];
const PATIENCE_MS = 30_000;

/** Runs `connect` on what the command line names, does the session, and prints what came out. */
export async function main(connect: (target: Target) => Promise<Connected>): Promise<void> {
  const client = await connect(targetOf(process.argv.slice(2)));
  try {
    console.log(JSON.stringify(await session(client)));
  } finally {
    await client.close();
  }
}

function targetOf([first, ...args]: string[]): Target {
  if (first === undefined) throw new Error("usage: CLIENT URL | CLIENT COMMAND ARGUMENT...");
  return /^https?:/.test(first) ? { url: new URL(first) } : { command: first, args };
}

async function session(client: Connected): Promise<object> {
  const { tools } = await client.listTools();
  const run = await call(client, "workflow.run", { workflow: "hello", input: { name: "Ada" } });
  return {
    protocol_version: client.protocolVersion,
    server: client.serverInfo,
    tools: tools.map((tool) => tool.name),
    run,
    status: await ended(client, run.execution_id),
  };
}

/** Asks for the status until the execution has ended. */
async function ended(client: Connected, execution_id: unknown): Promise<Record<string, unknown>> {
  const until = Date.now() + PATIENCE_MS;
  for (;;) {
    const status = await call(client, "workflow.status", { execution_id });
    if (ENDED.includes(String(status.status))) return status;
    if (until < Date.now()) throw new Error(`still not ended: ${JSON.stringify(status)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function call(client: Connected, name: string, args: Record<string, unknown>) {
  const result = await client.callTool({ name, arguments: args });
  if (result.isError) throw new Error(`${name} failed: ${JSON.stringify(result.content)}`);
  return result.structuredContent as Record<string, unknown>;
}
