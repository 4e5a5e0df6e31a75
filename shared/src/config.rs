//! Settings: read once from the environment, and reported whole when wrong.

use std::str::FromStr;

use crate::{clock::Seconds, id::TenantId, key::Realm};

/// Everything that is wrong with the environment, at once.
#[derive(Debug, thiserror::Error)]
#[error("the environment is not complete: {}", .0.join("; "))]
pub struct ConfigError(Vec<String>);

/// Reads variables and remembers every problem.
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
    /// A variable that may be absent or empty.
    pub fn optional(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// A variable that must be there.
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
}

/// What it takes to verify a key.
#[derive(Debug, Clone)]
pub struct KeySettings {
    /// `iss` and `aud` of the keys.
    pub realm: Realm,
    /// KMS key ids or ARNs, each once: the first signs, all verify.
    pub signing_keys: Vec<String>,
}

impl KeySettings {
    /// Reads `KEY_ISSUER`, `KEY_AUDIENCE` and `SIGNING_KEYS`.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let realm = Realm {
            issuer: environment.required("KEY_ISSUER"),
            audience: environment.required("KEY_AUDIENCE"),
        };
        let keys = environment.required("SIGNING_KEYS");
        let mut signing_keys: Vec<String> = Vec::new();
        for key in keys.split(',').map(str::trim).filter(|key| !key.is_empty()) {
            // A rotation begins with the stack's own key in front, where it signs on while the new one is made known.
            if !signing_keys.iter().any(|known| known == key) {
                signing_keys.push(key.to_owned());
            }
        }
        Self {
            realm,
            signing_keys,
        }
    }
}

/// How long a key may live.
#[derive(Debug, Clone, Copy)]
pub struct ExpirySettings {
    /// Shortest life.
    pub shortest: Seconds,
    /// Longest life.
    pub longest: Seconds,
    /// Life of a key whose request names none.
    pub default: Seconds,
}

impl ExpirySettings {
    /// Reads `MIN_EXPIRY_SECONDS`, `MAX_EXPIRY_SECONDS` and `DEFAULT_EXPIRY_SECONDS`.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let mut seconds = |name| {
            environment.parsed(
                name,
                "a whole number of seconds, at least 1",
                |seconds: &i64| *seconds > 0,
            )
        };
        let settings = Self {
            shortest: seconds("MIN_EXPIRY_SECONDS"),
            longest: seconds("MAX_EXPIRY_SECONDS"),
            default: seconds("DEFAULT_EXPIRY_SECONDS"),
        };
        if !(settings.shortest..=settings.longest).contains(&settings.default) {
            environment.problems.push(
                "MIN_EXPIRY_SECONDS <= DEFAULT_EXPIRY_SECONDS <= MAX_EXPIRY_SECONDS must hold"
                    .into(),
            );
        }
        settings
    }
}

/// Which claims of the OIDC token say who calls, and who the first administrators are.
#[derive(Debug, Clone)]
pub struct CallerSettings {
    /// The claim with the tenant.
    pub tenant_claim: String,
    /// The claim with the e-mail address.
    pub email_claim: String,
    /// The claim with the display name.
    pub name_claim: String,
    /// Tenant, and the `sub` or verified e-mail address, of the first administrators.
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

/// How long an expired key or a silent node stays in the lists: reads `HISTORY_DAYS`, answers seconds.
pub fn history(environment: &mut Environment<'_>) -> Seconds {
    environment.parsed(
        "HISTORY_DAYS",
        "a whole number of days, 1 to 3650",
        |days: &i64| (1..=3650).contains(days),
    ) * 86_400
}

/// Silence after which a cluster counts as inactive: reads `CLUSTER_INACTIVE_AFTER_SECONDS`.
pub fn inactive_after(environment: &mut Environment<'_>) -> Seconds {
    environment.parsed(
        "CLUSTER_INACTIVE_AFTER_SECONDS",
        "a whole number of seconds, at least 1",
        |seconds: &i64| *seconds > 0,
    )
}

/// The oldest reading that `validate` may answer from, whatever a request allows: reads `MAX_STALENESS_SECONDS`.
pub fn max_staleness(environment: &mut Environment<'_>) -> Seconds {
    environment.parsed(
        "MAX_STALENESS_SECONDS",
        "a whole number of seconds, 0 to 300",
        |seconds: &i64| (0..=300).contains(seconds),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_at_once() {
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
