//! What persons are asked.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Command, Decider,
    begin::{Hindrance, text_of},
};
use crate::{
    Approval, Ask, Kind, Request, RequestKind, SecretSlot, Terms, content_hash,
    event::{Event, StepError},
    expr::Template,
    hash,
    state::{Role, Scope},
};

impl Decider<'_> {
    /// The request that the call of a step was approved by.
    pub(super) fn request_of(&self, id: usize) -> Option<&Request> {
        let step = self.state.record(id);
        let of = match step.role {
            Role::Step => step,
            Role::Instance(_) if step.request.is_some() => step,
            Role::Instance(_) => self.state.record(self.state.frame(step.frame)?.owner?),
            Role::Verify(_) | Role::Undo => return None,
        };
        of.request.as_ref()
    }

    /// The question whether a step may go on; with what exactly its tool is given.
    pub(super) fn approval(&self, id: usize, approval: &Approval) -> Result<Request, Hindrance> {
        let definition = self.step(id);
        let (params, secrets) = match &definition.kind {
            Kind::Tool { params, .. } => {
                let (params, secrets) = self.params_to_approve(id, params)?;
                (Some(params), secrets)
            }
            _ => (None, Vec::new()),
        };
        let message = self.message(id, approval.message.as_ref())?;
        let message = message.unwrap_or_else(|| match definition.kind.tool() {
            Some(tool) => format!("May step {} call {tool}?", definition.name),
            None => format!("May {} go on after step {}?", self.workflow.name, definition.name),
        });
        let request = self.request(id, RequestKind::Approval, message, &approval.terms);
        let tool = definition.kind.tool().cloned();
        let binding = self.binding(id, params.as_ref());
        Ok(Request { tool, params, secrets, binding, ..request })
    }

    fn params_to_approve(
        &self,
        id: usize,
        params: &Template,
    ) -> Result<(Value, Vec<SecretSlot>), Hindrance> {
        let step = self.state.record(id);
        let each = step.inner.and_then(|frame| self.state.frame(frame)?.each.as_ref());
        let Some(each) = each else {
            let (params, secrets) = self.evaluated(id, params, self.scope(id))?;
            return Ok((Value::clone(&params), secrets));
        };
        let mut list = Vec::with_capacity(each.items.len());
        let mut slots = Vec::new();
        for (number, item) in each.items.iter().enumerate() {
            let index = Value::from(number);
            let scope = Scope { item: Some((step.definition, item, &index)), ..self.scope(id) };
            let (params, secrets) = self.evaluated(id, params, scope)?;
            list.push(Arc::unwrap_or_clone(params));
            slots.extend(
                secrets.into_iter().map(|slot| SecretSlot {
                    pointer: format!("/{number}{}", slot.pointer),
                    ..slot
                }),
            );
        }
        Ok((Value::Array(list), slots))
    }

    /// The question for values.
    pub(super) fn form(&self, id: usize, ask: &Ask) -> Result<Request, Hindrance> {
        let message = self.message(id, ask.message.as_ref())?;
        let message =
            message.unwrap_or_else(|| format!("Step {} asks for values.", self.step(id).name));
        let request = self.request(id, RequestKind::Form, message, &ask.terms);
        let schema = Some(ask.schema.schema().clone());
        Ok(Request { schema, binding: self.binding(id, None), ..request })
    }

    fn message(&self, id: usize, message: Option<&Template>) -> Result<Option<String>, Hindrance> {
        let Some(message) = message else { return Ok(None) };
        let names = self.state.names(self.workflow, self.scope(id));
        match message.evaluate(&names) {
            Ok(message) => Ok(Some(text_of(&message))),
            Err(err) => Err(self.hindrance(id, "message", &err)),
        }
    }

    fn request(&self, id: usize, kind: RequestKind, message: String, terms: &Terms) -> Request {
        Request {
            id: self.request_id(id, false),
            kind,
            message,
            schema: None,
            tool: None,
            params: None,
            secrets: Vec::new(),
            binding: String::new(),
            approvers: terms.approvers.clone(),
            quorum: terms.quorum,
            allow_self: terms.allow_self,
            verified: terms.verified,
            on_expire: terms.on_expire,
            escalated: false,
            expires_at: self.now.saturating_add_unsigned(terms.expires_ms),
        }
    }

    /// The same for everybody who reads the same history.
    fn request_id(&self, id: usize, escalated: bool) -> String {
        let key = self.idempotency_key(id);
        hash::id("req_", &format!("{key}{}", if escalated { "/escalated" } else { "" }))
    }

    /// What is approved, and nothing else.
    fn binding(&self, id: usize, params: Option<&Value>) -> String {
        let step = self.state.record(id);
        content_hash(&json!({
            "revision": self.workflow.hash,
            "step": &*step.path,
            "generation": step.generation,
            "tool": self.step(id).kind.tool().map(ToString::to_string),
            "params": params,
        }))
    }

    /// The same question once more, because nobody answered it in time.
    pub(super) fn ask_once_more(&self, id: usize) -> Command {
        let step = self.state.record(id);
        let Some(request) = &step.request else {
            let error = StepError::permanent("expired", "nobody answered the request in time");
            return super::failed(&step.path, error);
        };
        let terms = match &self.step(id).kind {
            Kind::Ask(ask) => Some(&ask.terms),
            Kind::Approval(approval) => Some(&approval.terms),
            _ => self.step(id).approval.as_ref().map(|approval| &approval.terms),
        };
        let patience = terms.map_or(crate::DEFAULT_ANSWER_MS, |terms| terms.expires_ms);
        let request = Request {
            id: self.request_id(id, true),
            escalated: true,
            expires_at: self.now.saturating_add_unsigned(patience),
            ..request.clone()
        };
        Command::Record(Event::RequestOpened { step: step.path.to_string(), request })
    }
}
