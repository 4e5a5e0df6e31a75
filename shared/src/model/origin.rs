//! Where requests come from.

use super::text::is_plain;

/// Where a request came from, according to the gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    pub source_ip: Option<String>,
    pub user_agent: Option<String>,
    pub request_id: Option<String>,
}

impl Origin {
    const LONGEST_USER_AGENT: usize = 256;

    /// Shortens the user agent, or drops it if it contains characters that could make one line of text look like
    /// another.
    #[must_use]
    pub fn new(
        source_ip: Option<String>,
        user_agent: Option<&str>,
        request_id: Option<String>,
    ) -> Self {
        let shorten = |text: &str| text.chars().take(Self::LONGEST_USER_AGENT).collect();
        let user_agent = user_agent.filter(|text| !text.is_empty() && is_plain(text));
        Self {
            source_ip,
            user_agent: user_agent.map(shorten),
            request_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_agent_is_shortened_and_has_no_control_characters() {
        let origin = |agent: &str| Origin::new(None, Some(agent), None).user_agent;
        assert_eq!(origin("curl/8").as_deref(), Some("curl/8"));
        assert_eq!(origin("").or(origin("a\u{202e}b")), None);
        assert_eq!(origin(&"é".repeat(300)).unwrap().chars().count(), 256);
    }
}
