//! Everything that is passed on to workers: one list, from which requests are dispatched, pages written and tests made.
//!
//! A surface says what of a body is prompt, how its requests find their worker and in which shape its clients expect errors. What is on
//! no list is [`OTHER`]: any path, any method, any bytes.

use http::Method;
use warmroute_openai::{ErrorShape, PromptKeys};

/// An API of the workers.
#[derive(Debug)]
pub(crate) struct Surface {
    /// Where it is; a path that ends in `*` stands for all that begin so.
    pub path: &'static str,
    /// The method it takes; none is any.
    pub method: Option<&'static str>,
    /// How a request finds its worker.
    pub route: Route,
    /// In which shape its clients expect errors.
    pub errors: ErrorShape,
}

/// How a request finds its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// By the prompt in its body.
    Prompt(PromptKeys),
    /// By load alone; the whole body is JSON, and what it costs is as its length.
    Load,
    /// By load alone; nothing is known of its body, which is passed on as it comes where it is long.
    Stream,
    /// To the worker that made the response whose id follows the path's beginning.
    Maker,
}

const fn post(path: &'static str, route: Route) -> Surface {
    Surface { path, method: Some("POST"), route, errors: ErrorShape::OpenAi }
}

const fn anthropic(surface: Surface) -> Surface {
    Surface { errors: ErrorShape::Anthropic, ..surface }
}

const fn any(path: &'static str, route: Route) -> Surface {
    Surface { path, method: None, route, errors: ErrorShape::OpenAi }
}

/// All of them, those that are asked most first.
pub(crate) static SURFACES: [Surface; 16] = [
    post("/v1/chat/completions", Route::Prompt(PromptKeys::CHAT)),
    post("/v1/completions", Route::Prompt(PromptKeys::COMPLETION)),
    post("/v1/responses", Route::Prompt(PromptKeys::RESPONSES)),
    anthropic(post("/v1/messages", Route::Prompt(PromptKeys::MESSAGES))),
    anthropic(post("/v1/messages/count_tokens", Route::Load)),
    post("/v1/embeddings", Route::Load),
    post("/v1/rerank", Route::Load),
    post("/v2/rerank", Route::Load),
    post("/rerank", Route::Load),
    post("/v1/score", Route::Load),
    post("/score", Route::Load),
    post("/tokenize", Route::Load),
    post("/detokenize", Route::Load),
    any("/v1/responses/*", Route::Maker),
    any("/v1/audio/*", Route::Stream),
    any("/*", Route::Stream),
];

/// Any other path.
pub(crate) static OTHER: &Surface = &SURFACES[SURFACES.len() - 1];

impl Surface {
    /// The first that this path belongs to. Every path belongs to [`OTHER`].
    pub(crate) fn at(path: &str) -> &'static Self {
        SURFACES.iter().find(|surface| surface.holds(path)).unwrap_or(OTHER)
    }

    /// The same, if it takes the method. What browsers ask before they ask (OPTIONS) is nothing special to anybody here.
    pub(crate) fn taking(method: &Method, path: &str) -> Option<&'static Self> {
        let surface = Self::at(path);
        match surface.method {
            Some(taken) if taken == method.as_str() => Some(surface),
            Some(_) if method == Method::OPTIONS => Some(OTHER),
            Some(_) => None,
            None => Some(surface),
        }
    }

    /// Whether it is the one for paths that are not known.
    pub(crate) fn is_other(&self) -> bool {
        std::ptr::eq(self, OTHER)
    }

    /// Whether asking twice does no harm: models are asked, and nothing is changed. Of other paths nothing is known.
    pub(crate) fn is_repeatable(&self) -> bool {
        matches!(self.route, Route::Prompt(_) | Route::Load)
    }

    /// Paths and methods that only this surface has.
    pub(crate) fn is_exact(&self) -> bool {
        !self.path.ends_with('*')
    }

    /// What of a path follows the beginning that all of the surface's paths have.
    pub(crate) fn rest_of<'p>(&self, path: &'p str) -> &'p str {
        path.strip_prefix(self.path.trim_end_matches('*')).unwrap_or_default()
    }

    fn holds(&self, path: &str) -> bool {
        match self.path.strip_suffix('*') {
            Some(beginning) => path.starts_with(beginning),
            None => path == self.path,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    impl Route {
        /// As the page writes it.
        fn about(self) -> String {
            match self {
                Self::Prompt(PromptKeys { lead: Some(lead), prompt, .. }) => {
                    format!("by prompt: `{lead}`, `{prompt}`")
                }
                Self::Prompt(PromptKeys { prompt, .. }) => format!("by prompt: `{prompt}`"),
                Self::Load => "by load".to_owned(),
                Self::Stream => "by load; any body, streamed through where it is long".to_owned(),
                Self::Maker => "to the worker that made the response".to_owned(),
            }
        }
    }

    #[test]
    fn every_surface_is_found_at_its_path_and_by_its_method() {
        for surface in &SURFACES {
            let path = surface.path.replace('*', "x/y");
            assert!(std::ptr::eq(Surface::at(&path), surface), "{path}");
            let get = Surface::taking(&Method::GET, &path);
            assert_eq!(get.is_some(), surface.method.is_none(), "{path}");
            assert!(Surface::taking(&Method::OPTIONS, &path).is_some(), "{path}");
        }
        assert!(Surface::at("").is_other() && Surface::at("*").is_other());
    }

    #[test]
    fn the_page_of_surfaces_lists_them() {
        let mut table = String::from("| path | method | finds its worker | errors |\n|---|---|---|---|\n");
        for Surface { path, method, route, errors } in &SURFACES {
            let method = method.unwrap_or("any");
            let errors = if *errors == ErrorShape::Anthropic { "Anthropic's" } else { "OpenAI's" };
            let _ = writeln!(table, "| `{path}` | {method} | {} | {errors} |", route.about());
        }
        crate::docs::check_part("surfaces.md", "surfaces", &table);
    }
}
