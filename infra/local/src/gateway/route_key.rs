//! Route keys: which requests a route matches, and the order in which routes are tried.

use serde_json::{Map, Value};

use super::path;

/// A route key such as `POST /v1/users/{user_id}`, `ANY /{proxy+}` or `$default`.
#[derive(Debug)]
pub(super) struct RouteKey {
    whole: String,
    /// `None` for `ANY` and `$default`.
    method: Option<String>,
    /// `None` for `$default`.
    path: Option<Vec<Segment>>,
}

#[derive(Debug)]
enum Segment {
    Static(String),
    Parameter(String),
    Greedy(String),
}

impl Segment {
    fn parse(segment: &str) -> Self {
        let name = segment
            .strip_prefix('{')
            .and_then(|segment| segment.strip_suffix('}'));
        match name.map(|name| (name, name.strip_suffix('+'))) {
            Some((_, Some(name))) => Self::Greedy(name.to_owned()),
            Some((name, None)) => Self::Parameter(name.to_owned()),
            None => Self::Static(segment.to_owned()),
        }
    }
}

impl RouteKey {
    /// Returns `None` if `whole` is not a route key. Also returns `None` if the path ends in a slash, which API Gateway
    /// refuses.
    pub(super) fn parse(whole: &str) -> Option<Self> {
        let (method, path) = match whole {
            "$default" => (None, None),
            _ => {
                let (method, path) = whole.split_once(' ')?;
                let path = path.strip_prefix('/')?;
                if path.ends_with('/') {
                    return None;
                }
                let segments = path.split('/');
                (Some(method), Some(segments.map(Segment::parse).collect()))
            }
        };
        Some(Self {
            whole: whole.to_owned(),
            method: method.filter(|method| *method != "ANY").map(str::to_owned),
            path,
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.whole
    }

    /// Returns a sort key for the order in which API Gateway tries routes. Routes without a greedy segment come first.
    /// Among those routes, static segments precede parameters, and a method precedes `ANY`. `$default` is last.
    pub(super) fn precedence(&self) -> impl Ord + use<> {
        let path = self.path.as_deref();
        let kinds: Vec<u8> = path
            .unwrap_or_default()
            .iter()
            .map(|segment| match segment {
                Segment::Static(_) => 0,
                Segment::Parameter(_) => 1,
                Segment::Greedy(_) => 2,
            })
            .collect();
        let greedy = kinds.contains(&2);
        (path.is_none(), greedy, kinds, self.method.is_none())
    }

    /// Returns the decoded path parameters, or `None` if the route does not match the request. `path` is
    /// [`RequestPath::routed`].
    ///
    /// [`RequestPath::routed`]: path::RequestPath::routed
    pub(super) fn matches(&self, method: &str, path: &str) -> Option<Map<String, Value>> {
        let mut parameters = Map::new();
        let Some(segments) = &self.path else {
            return Some(parameters);
        };
        if self.method.as_deref().is_some_and(|own| own != method) {
            return None;
        }
        let mut rest = Some(path.strip_prefix('/')?);
        for segment in segments {
            let here = rest?;
            let (part, after) = here
                .split_once('/')
                .map_or((here, None), |(part, after)| (part, Some(after)));
            match segment {
                Segment::Static(text) if text == part => {}
                Segment::Parameter(name) if !part.is_empty() => {
                    parameters.insert(name.clone(), path::decode(part)?.into());
                }
                Segment::Greedy(name) if !here.is_empty() => {
                    parameters.insert(name.clone(), path::decode(here)?.into());
                    return Some(parameters);
                }
                _ => return None,
            }
            rest = after;
        }
        rest.is_none().then_some(parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_tried_in_the_order_of_api_gateway() {
        let mut keys: Vec<_> = [
            "$default",
            "ANY /a/{proxy+}",
            "GET /a/{id}",
            "ANY /a/b",
            "GET /a/b",
            "GET /a/{id}/c",
        ]
        .iter()
        .map(|key| RouteKey::parse(key).unwrap())
        .collect();
        keys.sort_by_key(RouteKey::precedence);
        let first = |method: &str, path: &str| {
            keys.iter()
                .find(|key| key.matches(method, path).is_some())
                .map(|key| key.whole.as_str())
        };
        assert_eq!(first("GET", "/a/b"), Some("GET /a/b"));
        assert_eq!(first("PUT", "/a/b"), Some("ANY /a/b"));
        assert_eq!(first("GET", "/a/x"), Some("GET /a/{id}"));
        assert_eq!(first("GET", "/a/x/c"), Some("GET /a/{id}/c"));
        assert_eq!(first("GET", "/a/x/y/z"), Some("ANY /a/{proxy+}"));
        assert_eq!(first("GET", "/"), Some("$default"));
    }

    #[test]
    fn a_route_key_must_not_end_in_a_slash() {
        for (key, is_valid) in [
            ("GET /", true),
            ("GET /a", true),
            ("GET /a/", false),
            ("ANY /a/{id}/", false),
            ("GET a", false),
            ("GET", false),
        ] {
            assert_eq!(RouteKey::parse(key).is_some(), is_valid, "{key}");
        }
    }

    #[test]
    fn path_parameters_are_decoded_twice_and_an_escaped_slash_separates_segments() {
        let parameter = |key: &str, path: &str| {
            let path = path::RequestPath::parse(path).unwrap();
            let parameters = RouteKey::parse(key).unwrap().matches("GET", &path.routed)?;
            Some(parameters["id"].as_str().unwrap().to_owned())
        };
        for (key, path, id) in [
            ("GET /users/{id}", "/users/a%7Cb", Some("a|b")),
            ("GET /users/{id}", "/users/a%2Fb", None),
            ("GET /users/{id}", "/users/a%252Fb", Some("a/b")),
            ("GET /users/{id}/keys", "/users/a%2Fkeys", Some("a")),
            ("GET /users/{id}", "/users/", None),
            ("GET /{id+}", "/users/a%2Fb/c%20d", Some("users/a/b/c d")),
        ] {
            assert_eq!(parameter(key, path).as_deref(), id, "{path}");
        }
    }
}
