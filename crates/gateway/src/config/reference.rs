//! The reference page of all settings, which a test holds to the declarations.

use std::fmt::Write;

use super::{Mark, SETTINGS};

const HEAD: &str = "\
# Settings of `warmroute gateway`

<!-- Written from the declarations in crates/gateway/src/config by `WARMROUTE_UPDATE_DOCS=1 cargo test -p warmroute-gateway --lib reference`. -->

Each setting can be given in a TOML file (`--config FILE`), in the environment and as a flag; a flag wins over the environment, and
both over the file. `max_attempts` is `max_attempts = 3` in the file, `WARMROUTE_MAX_ATTEMPTS=3` in the environment and
`--max-attempts 3` as a flag. `warmroute gateway --check` says whether all of it makes sense, and ends.

A reload (SIGHUP, `POST /reload` of the admin API, or a changed file with `reload_on_change`) takes in what has changed, and drops no
connection. Settings marked *restart* keep their value until the gateway starts again, which the log says.

Workers are listed as tables in the file, `WARMROUTE_WORKERS` or `--worker` (both separated by commas):

```toml
[[workers]]
url = \"http://10.0.0.1:8000\"       # https:// for TLS, h2c:// for HTTP/2 without it
api_key = \"env:WORKER_KEY\"   # optional: sent to this worker instead of what the client sent
kv_events = \"tcp://10.0.0.1:5557\"   # optional: where it publishes KV events; a list if it has several ranks
kv_replay = \"tcp://10.0.0.1:5558\"   # optional: where it tells them again
kv_topic = \"kv@\"                    # optional: only events whose topic begins so
```

Other names for models are tables too, in the file only:

```toml
[[aliases]]
name = \"gpt-4o\"                # what clients ask for
model = \"Qwen/Qwen3-8B\"        # what workers are asked for: the name in the body is replaced, and nothing else
```

Models whose prompts the gateway turns into tokens ([docs/tokens.md](tokens.md)) are tables as well, read when the gateway starts:

```toml
[[models]]
name = \"Qwen/Qwen3-8B\"              # as workers serve it
tokenizer = \"hub:Qwen/Qwen3-8B\"     # a directory with tokenizer.json, a .gguf file, hub:NAME, or \"worker\" to ask one
block_tokens = 16                     # optional: tokens in a block of its workers' caches
chat_template = \"/etc/qwen3.jinja\"   # optional: instead of the tokenizer's own
```
";

fn page() -> String {
    let mut page = String::from(HEAD);
    let mut group = "";
    for setting in SETTINGS {
        if setting.group != group {
            group = setting.group;
            let _ = write!(page, "\n## {group}\n\n| setting | default | |\n|---|---|---|\n");
        }
        let restart = if setting.is(Mark::restart) { " *restart*" } else { "" };
        let about = setting.about.trim();
        let _ = writeln!(page, "| `{}` | `{}` | {about}{restart} |", setting.name, (setting.default)());
    }
    page
}

#[test]
fn the_reference_page_says_what_is_declared() {
    crate::docs::check("settings.md", &page());
}
