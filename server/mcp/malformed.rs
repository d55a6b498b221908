//! Requests that name a method of ours and whose parameters are not what it takes.
//!
//! The SDK takes them for methods it does not know, and a client would be told that there is no `tools/call`.

use rmcp::{
    ErrorData,
    model::{CallToolResult, CustomRequest, CustomResult, ErrorCode},
};
use serde_json::Value;

use super::{
    Mcp,
    answer::{self, cut},
    arguments::Refusal,
    names::ToolId,
};

/// Our methods that take parameters, and what these are. (`initialize` is not among them: in a request of the second era
/// it is a method that there is not, SEP-2575.)
const METHODS: [(&str, &str); 4] = [
    ("tools/call", "name: a text, and arguments: an object"),
    ("tools/list", "nothing, or cursor: a text"),
    ("resources/read", "uri: a text"),
    ("completion/complete", "ref: an object, and argument: an object"),
];

/// What is wrong with it. Wrong arguments of a tool are told as the tool's answer, so that models see them.
///
/// # Errors
/// Always, unless a tool answers.
pub(crate) fn answer(mcp: &Mcp, request: &CustomRequest) -> Result<CustomResult, ErrorData> {
    let CustomRequest { method, params, .. } = request;
    let Some((_, takes)) = METHODS.iter().find(|(known, _)| known == method) else {
        return Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, method.clone(), None));
    };
    if let Some(result) = params.as_ref().and_then(|params| refused(mcp, params))
        && method == "tools/call"
        && let Ok(result) = serde_json::to_value(result)
    {
        return Ok(CustomResult(result));
    }
    let message = format!("the parameters of {method} are not what it takes: {takes}");
    Err(ErrorData::invalid_params(message, None))
}

/// The answer of a tool whose arguments are no object.
fn refused(mcp: &Mcp, params: &Value) -> Option<CallToolResult> {
    let id = ToolId::named(params.get("name")?.as_str()?)?;
    let arguments = params.get("arguments").filter(|arguments| !arguments.is_object())?;
    let tool = id.listed(mcp.names());
    let got = cut(&arguments.to_string(), 80);
    Some(answer::refused(Refusal(format!(
        "{tool}: \"arguments\" must be a JSON object (not a text that holds one); got {got}. Nothing was done; correct it \
         and call {tool} again."
    ))))
}
