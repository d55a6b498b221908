//! The tool that sends messages, to those who know keys; comments on GitHub are among that emulator's cases.

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use windlass_emulators::github::{Action, Faults};

use super::{Case, Change, World, check, double::Double, with};
use crate::{
    durability::{LEASE, Run, Scene},
    harness::{Project, Running, SOON, eventually},
};

#[test]
fn messages_are_sent_once_wherever_their_sender_is_killed() {
    let runtime = Runtime::new().unwrap();
    let channels = Channels(Double::start(&runtime));
    check(&Scene::on_sqlite(), &runtime, &channels, &cases());
}

pub(super) fn cases() -> Vec<Case> {
    let send = json!({ "channel": "hook", "text": "${input.place}" });
    vec![
        ("notify.send", send.clone()),
        ("notify.send", with(send.clone(), json!({ "upsert_key": "${input.place}" }))),
        ("notify.send", with(send, json!({ "thread_key": "${input.place}" }))),
        ("notify.send", json!({ "channel": "log", "text": "${input.place}" })),
    ]
}

/// Where nobody can know whether a message stands there, a person is asked, and it is not sent again.
#[test]
fn a_message_to_a_channel_without_keys_is_not_sent_twice() {
    let runtime = Runtime::new().unwrap();
    let channels = Channels(Double::start(&runtime));
    let project = Project::new().with_env("CHAT", &format!("{}/slack", channels.0.url));
    let database = format!("sqlite:{}", project.data_dir().join("windlass.db").display());
    let scene = Scene::at(project, database);
    let params = json!({ "channel": "chat", "text": "${input.place}" });
    let case: Case = ("notify.send", params.clone());
    let input = channels.prepare(&scene, &case, "chat");
    let step = json!({ "name": "call", "tool": "notify.send", "params": params });
    let document = json!({ "name": "tell", "input": { "type": "object" }, "steps": [step] });
    scene.project.write("workflows/tell.json", &document.to_string());
    let run = Run { workflow: "tell", key: "once", input };
    channels.0.faults.add(Action::PauseAfterWork.on("POST", "/slack"));
    let mut first = Running::start(&mut scene.command(&run));
    assert!(runtime.block_on(channels.0.faults.wait_until_held(1, SOON)), "{}", first.stderr());
    first.kill();
    channels.0.faults.release();
    scene.let_leases_run_out();
    let mut second = Running::start(&mut scene.command(&run));
    eventually(LEASE, "the step to wait for a person's word", || {
        let uncertain = scene.number("SELECT COUNT(*) FROM steps WHERE status = 'uncertain'");
        (uncertain == 1).then_some(())
    });
    second.kill();
    assert_eq!(channels.0.taken("chat").len(), 1);
}

/// A webhook that knows keys, a chat that does not, and the log.
struct Channels(Double);

impl World for Channels {
    fn prepare(&self, scene: &Scene, _case: &Case, place: &str) -> Value {
        let url = &self.0.url;
        let settings = format!(
            "[notify.channels.hook]\nkind = \"webhook\"\nurl = \"{url}/hook\"\n\
             [notify.channels.chat]\nkind = \"slack\"\nurl_env = \"CHAT\"\n"
        );
        scene.project.write("windlass.toml", &settings);
        json!({ "place": place })
    }

    fn picture(&self, scene: &Scene, place: &str) -> Value {
        let listed = super::result_of(scene, "notify.list", &json!({}));
        let items = listed["items"].as_array().unwrap().iter();
        let logged = items.filter(|item| item["text"] == place).count();
        json!({ "done": self.0.done(place), "logged": logged })
    }

    fn changes(&self, place: &str) -> Vec<Change> {
        self.0.changes(place)
    }

    fn faults(&self) -> Option<&Faults> {
        Some(&self.0.faults)
    }
}
