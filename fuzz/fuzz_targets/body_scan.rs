//! The scan of request bodies: no bytes make it panic, what it cuts out lies within the body, and a body that `serde_json` reads is
//! read alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use warmroute_openai::RequestView;

fuzz_target!(|body: &[u8]| {
    check(body, RequestView::of_chat(body).ok(), "messages");
    check(body, RequestView::of_completion(body).ok(), "prompt");
});

fn check(body: &[u8], view: Option<RequestView<'_>>, prompt_key: &str) {
    if let Some(view) = &view {
        assert!(body.as_ptr_range().start <= view.prompt.as_ptr());
        assert!(view.prompt.as_ptr_range().end <= body.as_ptr_range().end);
        assert!(view.text_start().chars().count() <= warmroute_openai::TEXT_START_CHARS);
    }
    let Ok(Value::Object(whole)) = serde_json::from_slice::<Value>(body) else { return };
    let strings = ["model", "cache_salt"];
    let sound =
        strings.iter().all(|key| whole.get(*key).is_none_or(|value| value.is_string() || value.is_null()));
    if !sound || whole.get(prompt_key).is_none_or(Value::is_null) {
        return;
    }
    let view = view.expect("what serde_json reads, and is a request, is viewed");
    assert_eq!(view.model.as_deref(), whole.get("model").and_then(Value::as_str));
    assert_eq!(view.stream, whole.get("stream") == Some(&Value::Bool(true)));
    assert_eq!(serde_json::from_slice::<Value>(view.prompt).ok().as_ref(), whole.get(prompt_key));
}
