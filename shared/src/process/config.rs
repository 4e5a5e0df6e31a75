//! Settings: read once from the environment. One error reports everything that is missing or wrong.

use std::{ops::RangeInclusive, str::FromStr, time::Duration};

use crate::model::{TenantId, Timestamp, TokenIssuer};

const DAY: u64 = 86_400;

/// Everything that is missing or wrong in the environment.
#[derive(Debug, thiserror::Error)]
#[error("the environment is not complete: {}", .0.join("; "))]
pub struct ConfigError(Vec<String>);

/// Reads variables and collects the problems.
pub struct Environment<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

/// Reads settings with `read` from the process's environment.
///
/// # Errors
/// With every variable that is missing or wrong.
pub fn read<T>(read: impl FnOnce(&mut Environment<'_>) -> T) -> Result<T, ConfigError> {
    read_from(&|name| std::env::var(name).ok(), read)
}

fn read_from<T>(
    lookup: &dyn Fn(&str) -> Option<String>,
    read: impl FnOnce(&mut Environment<'_>) -> T,
) -> Result<T, ConfigError> {
    let mut environment = Environment {
        lookup,
        problems: Vec::new(),
    };
    let settings = read(&mut environment);
    if environment.problems.is_empty() {
        Ok(settings)
    } else {
        Err(ConfigError(environment.problems))
    }
}

impl Environment<'_> {
    /// A variable that may be missing or empty.
    pub fn optional(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// A variable that must not be missing or empty.
    pub fn required(&mut self, name: &str) -> String {
        self.optional(name).unwrap_or_else(|| {
            self.problems.push(format!("{name} is not set"));
            String::new()
        })
    }

    fn parsed<T: FromStr + Default>(
        &mut self,
        name: &str,
        rule: &str,
        valid: impl Fn(&T) -> bool,
    ) -> T {
        let text = self.required(name);
        match text.parse() {
            Ok(value) if valid(&value) => value,
            _ => {
                if !text.is_empty() {
                    self.problems.push(format!("{name} must be {rule}"));
                }
                T::default()
            }
        }
    }

    fn seconds(&mut self, name: &str) -> Duration {
        // The range of a NumericDate.
        let valid = |seconds: &i64| *seconds > 0;
        let seconds = self.parsed(name, "a whole number of seconds, at least 1", valid);
        Duration::from_secs(seconds.unsigned_abs())
    }
}

/// Which keys sign, and for whom.
#[derive(Debug, Clone)]
pub struct KeySettings {
    pub issuer: TokenIssuer,
    /// KMS key ids or ARNs, each once: the first signs, all verify.
    pub signing_keys: Vec<String>,
}

impl KeySettings {
    /// Reads `KEY_ISSUER`, `KEY_AUDIENCE` and `SIGNING_KEYS`.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let issuer = TokenIssuer {
            issuer: environment.required("KEY_ISSUER"),
            audience: environment.required("KEY_AUDIENCE"),
        };
        let mut signing_keys: Vec<String> = Vec::new();
        for key in list(&environment.required("SIGNING_KEYS")) {
            // A rotation first adds the stack's own key in front, where it goes on signing until the new key is known.
            if !signing_keys.iter().any(|known| known == key) {
                signing_keys.push(key.to_owned());
            }
        }
        Self {
            issuer,
            signing_keys,
        }
    }
}

/// The entries of a comma-separated list.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

/// How long a key may live.
#[derive(Debug, Clone, Copy)]
pub struct ExpirySettings {
    pub shortest: Duration,
    pub longest: Duration,
    /// For a key whose request names no expiry.
    pub default: Duration,
}

impl ExpirySettings {
    /// Reads `MIN_EXPIRY_SECONDS`, `MAX_EXPIRY_SECONDS` and `DEFAULT_EXPIRY_SECONDS`.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let settings = Self {
            shortest: environment.seconds("MIN_EXPIRY_SECONDS"),
            longest: environment.seconds("MAX_EXPIRY_SECONDS"),
            default: environment.seconds("DEFAULT_EXPIRY_SECONDS"),
        };
        if !(settings.shortest..=settings.longest).contains(&settings.default) {
            environment.problems.push(
                "MIN_EXPIRY_SECONDS <= DEFAULT_EXPIRY_SECONDS <= MAX_EXPIRY_SECONDS must hold"
                    .into(),
            );
        }
        settings
    }

    /// The whole days that a key may live, at least one.
    #[must_use]
    pub fn days(&self) -> RangeInclusive<i64> {
        let days = |seconds: u64| i64::try_from(seconds / DAY).unwrap_or(i64::MAX);
        let first = days(self.shortest.as_secs().saturating_add(DAY - 1));
        first.max(1)..=days(self.longest.as_secs()).max(1)
    }

    /// The times at which a key that is created at `now` may expire.
    #[must_use]
    pub fn times(&self, now: Timestamp) -> RangeInclusive<Timestamp> {
        let now = now.to_second();
        now + self.shortest..=now + self.longest
    }
}

/// Which claims of the OIDC token identify the caller, and who the first administrators are.
#[derive(Debug, Clone)]
pub struct CallerSettings {
    pub tenant_claim: String,
    pub email_claim: String,
    pub name_claim: String,
    /// Each is a tenant, and a `sub` or verified e-mail address in it.
    pub bootstrap_admins: Vec<(TenantId, String)>,
}

impl CallerSettings {
    /// Reads `TENANT_CLAIM`, `EMAIL_CLAIM`, `NAME_CLAIM` and `BOOTSTRAP_ADMINS`.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let admins = environment.optional("BOOTSTRAP_ADMINS").unwrap_or_default();
        let mut bootstrap_admins = Vec::new();
        for entry in admins
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            match entry
                .split_once('/')
                .map(|(tenant, user)| (tenant.parse(), user))
            {
                Some((Ok(tenant), user)) if !user.is_empty() => {
                    bootstrap_admins.push((tenant, user.to_owned()))
                }
                _ => environment
                    .problems
                    .push("BOOTSTRAP_ADMINS must be a list of tenant/sub or tenant/email".into()),
            }
        }
        Self {
            tenant_claim: environment.required("TENANT_CLAIM"),
            email_claim: environment.required("EMAIL_CLAIM"),
            name_claim: environment.required("NAME_CLAIM"),
            bootstrap_admins,
        }
    }
}

/// How long an expired key or a silent node stays in the lists: `HISTORY_DAYS`.
pub fn history(environment: &mut Environment<'_>) -> Duration {
    let rule = "a whole number of days, 1 to 3650";
    let days = environment.parsed("HISTORY_DAYS", rule, |days: &u64| (1..=3650).contains(days));
    Duration::from_secs(days * DAY)
}

/// The silence after which a cluster counts as inactive: `CLUSTER_INACTIVE_AFTER_SECONDS`.
pub fn inactive_after(environment: &mut Environment<'_>) -> Duration {
    environment.seconds("CLUSTER_INACTIVE_AFTER_SECONDS")
}

/// The oldest data that `validate` may answer from, whatever a request allows: `MAX_STALENESS_SECONDS`.
pub fn max_staleness(environment: &mut Environment<'_>) -> Duration {
    let rule = "a whole number of seconds, 0 to 300";
    let seconds = environment.parsed("MAX_STALENESS_SECONDS", rule, |seconds: &u64| {
        *seconds <= 300
    });
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_error_reports_every_problem() {
        let lookup = |name: &str| match name {
            "MIN_EXPIRY_SECONDS" => Some("soon".into()),
            "MAX_EXPIRY_SECONDS" => Some("100".into()),
            "BOOTSTRAP_ADMINS" => Some("nobody".into()),
            "TENANT_CLAIM" | "EMAIL_CLAIM" => Some("x".into()),
            _ => None,
        };
        let error = read_from(&lookup, |environment| {
            ExpirySettings::read(environment);
            CallerSettings::read(environment);
        });
        let text = error.unwrap_err().to_string();
        for name in [
            "MIN_EXPIRY_SECONDS",
            "DEFAULT_EXPIRY_SECONDS is not set",
            "BOOTSTRAP_ADMINS",
            "NAME_CLAIM",
        ] {
            assert!(text.contains(name), "{text}");
        }
        assert!(!text.contains("EMAIL_CLAIM"), "{text}");
    }
}
