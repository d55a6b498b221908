//! What the SDK asks of a server, method by method, in both eras of the protocol.
#![expect(
    deprecated,
    reason = "clients of the first era still subscribe and set log levels the old way"
)]

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CancelTaskMethod, CancelTaskParams,
        CompleteRequestParams, CompleteResult, CustomRequest, CustomResult, GetPromptRequestParams,
        GetPromptResponse, GetTaskMethod, GetTaskParams, GetTaskResult, Implementation,
        ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
        ServerCapabilities, ServerConfig, SetLevelRequestMethod, SetLevelRequestParams,
        SubscribeRequestMethod, SubscribeRequestParams, SubscriptionFilter, Tool,
        UnsubscribeRequestMethod, UnsubscribeRequestParams, UpdateTaskMethod, UpdateTaskParams,
    },
    service::{RequestContext, SubscriptionContext},
};

use super::{Mcp, answered, conformance, malformed, resources, tools};

/// How long clients may keep what does not change while this process runs.
const TTL_MS: u64 = 300_000;

type Context = RequestContext<RoleServer>;

impl ServerHandler for Mcp {
    fn get_info(&self) -> ServerConfig {
        let capabilities = match self.fixtures() {
            Some(_) => conformance::capabilities(),
            None => ServerCapabilities::builder()
                .enable_tools()
                .enable_resources()
                .enable_completions()
                .build(),
        };
        let windlass =
            Implementation::new("windlass", env!("CARGO_PKG_VERSION")).with_title("Windlass");
        ServerConfig::new(capabilities)
            .with_server_info(windlass)
            .with_instructions(tools::instructions(self.names()))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult { tools: self.tools().to_vec(), ..Default::default() }
            .with_ttl_ms(TTL_MS)
            .with_cache_scope(CacheScope::Public))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tool(name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let _turn = self.turn().await?;
        answered(self.call(request, context)).await
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: Context,
    ) -> Result<CustomResult, ErrorData> {
        malformed::answer(self, &request)
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let _turn = self.turn().await?;
        let mut result = answered(resources::list(self)).await?;
        if self.fixtures().is_some() {
            result.resources.extend(conformance::resources());
        }
        Ok(result)
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let mut result = resources::templates();
        if self.fixtures().is_some() {
            result.resource_templates.extend(conformance::resource_templates());
        }
        Ok(result)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let _turn = self.turn().await?;
        match self.fixtures().and_then(|_| conformance::read_resource(&request.uri)) {
            Some(result) => Ok(result.into()),
            None => answered(resources::read(self, &request.uri)).await.map(Into::into),
        }
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: Context,
    ) -> Result<CompleteResult, ErrorData> {
        let _turn = self.turn().await?;
        let caller = self.caller(&context);
        answered(resources::complete(self, &caller, &request)).await
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        let prompts = self.fixtures().map(|_| conformance::prompts()).unwrap_or_default();
        Ok(ListPromptsResult { prompts, ..Default::default() }
            .with_ttl_ms(TTL_MS)
            .with_cache_scope(CacheScope::Public))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        self.fixtures().and_then(|_| conformance::prompt(&request)).ok_or_else(|| {
            ErrorData::invalid_params(format!("Unknown prompt: {}", request.name), None)
        })
    }

    async fn set_level(
        &self,
        _request: SetLevelRequestParams,
        _context: Context,
    ) -> Result<(), ErrorData> {
        self.fixtures().map(|_| ()).ok_or_else(ErrorData::method_not_found::<SetLevelRequestMethod>)
    }

    async fn subscribe(
        &self,
        _request: SubscribeRequestParams,
        _context: Context,
    ) -> Result<(), ErrorData> {
        self.fixtures()
            .map(|_| ())
            .ok_or_else(ErrorData::method_not_found::<SubscribeRequestMethod>)
    }

    async fn unsubscribe(
        &self,
        _request: UnsubscribeRequestParams,
        _context: Context,
    ) -> Result<(), ErrorData> {
        self.fixtures()
            .map(|_| ())
            .ok_or_else(ErrorData::method_not_found::<UnsubscribeRequestMethod>)
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        self.fixtures().map(|_| requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        if let Some(fixtures) = self.fixtures() {
            fixtures.listen(context).await;
        }
        Ok(())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: Context,
    ) -> Result<GetTaskResult, ErrorData> {
        let fixtures = self.fixtures().ok_or_else(ErrorData::method_not_found::<GetTaskMethod>)?;
        fixtures.tasks().get_task(&request.task_id).map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _context: Context,
    ) -> Result<(), ErrorData> {
        let fixtures =
            self.fixtures().ok_or_else(ErrorData::method_not_found::<UpdateTaskMethod>)?;
        fixtures.tasks().update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: Context,
    ) -> Result<(), ErrorData> {
        let fixtures =
            self.fixtures().ok_or_else(ErrorData::method_not_found::<CancelTaskMethod>)?;
        fixtures.tasks().cancel_task(&request.task_id)
    }
}
