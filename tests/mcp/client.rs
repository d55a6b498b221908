//! What a client of either era says and hears, whichever transport carries it.

use serde_json::{Value, json};

/// The era of the protocol that a client speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Era {
    /// Connects with `initialize`: 2025-11-25.
    Legacy,
    /// Says everything with each request: 2026-07-28.
    Modern,
}

impl Era {
    pub(super) const BOTH: [Era; 2] = [Era::Legacy, Era::Modern];

    pub(super) fn version(self) -> &'static str {
        match self {
            Era::Legacy => "2025-11-25",
            Era::Modern => "2026-07-28",
        }
    }

    /// A request as this era writes it.
    pub(super) fn request(self, id: u64, method: &str, mut params: Value) -> Value {
        if self == Era::Modern {
            let meta = params.as_object_mut().unwrap().entry("_meta").or_insert(json!({}));
            meta["io.modelcontextprotocol/protocolVersion"] = self.version().into();
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
            meta["io.modelcontextprotocol/clientInfo"] = client_info();
        }
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
    }

    /// The parameters of `initialize`.
    pub(super) fn hello(self) -> Value {
        json!({ "protocolVersion": self.version(), "capabilities": {}, "clientInfo": client_info() })
    }
}

fn client_info() -> Value {
    json!({ "name": "door-test", "version": "1.2.3" })
}

/// Who can call tools.
pub(super) trait Client {
    /// Sends a request and returns the whole answer to it.
    fn request(&mut self, method: &str, params: Value) -> Value;

    /// Calls a tool and returns its result, errors of the tool included.
    #[track_caller]
    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.request("tools/call", json!({ "name": tool, "arguments": arguments }));
        assert!(answer["result"].is_object(), "{tool}: {answer:#}");
        answer["result"].clone()
    }

    /// Calls a tool that must succeed and returns its structured content.
    #[track_caller]
    fn told(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_ne!(result["isError"], true, "{tool}: {result:#}");
        let told = result["structuredContent"].clone();
        let text: Value =
            serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, told, "clients see the one or the other");
        told
    }

    /// Calls a tool that must refuse and returns the text that a model sees.
    #[track_caller]
    fn refused(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{tool}: {result:#}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// Waits until an execution has ended.
    #[track_caller]
    fn followed(&mut self, execution_id: &str) -> Value {
        for _ in 0..20 {
            let arguments = json!({ "execution_id": execution_id, "wait_seconds": 3 });
            let told = self.told("workflow.status", arguments);
            if ["completed", "failed", "cancelled"].contains(&told["status"].as_str().unwrap()) {
                return told;
            }
        }
        panic!("{execution_id} did not end");
    }
}
