//! Settings, read once from the environment. One error reports every variable that is missing or invalid.

use std::{collections::BTreeSet, ops::RangeInclusive, str::FromStr, time::Duration};

use crate::model::{NodeQuota, TenantId, Timestamp, TokenIssuer, UserId, is_email};

const DAY: u64 = 86_400;

/// Lists every environment variable that is missing or invalid.
#[derive(Debug, thiserror::Error)]
#[error("the environment is incomplete or invalid: {}", .0.join("; "))]
pub struct ConfigError(Vec<String>);

/// Reads variables and collects an error for each one that is missing or invalid.
pub struct Environment<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

/// Calls `read` to read settings from the process's environment.
///
/// # Errors
/// Lists every variable that is missing or invalid.
pub fn read<T>(read: impl FnOnce(&mut Environment<'_>) -> T) -> Result<T, ConfigError> {
    read_from(&|name| std::env::var(name).ok(), read)
}

/// Calls `read` to read settings from the variables that `lookup` returns.
///
/// # Errors
/// Lists every variable that is missing or invalid.
pub fn read_from<T>(
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
    /// Returns an optional variable. An empty value counts as missing.
    pub fn optional(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// Returns a required variable. An empty value counts as missing.
    pub fn required(&mut self, name: &str) -> String {
        self.optional(name).unwrap_or_else(|| {
            self.problems.push(format!("{name} is not set"));
            String::new()
        })
    }

    /// Returns a required variable, parsed into another type. `rule` states which values are valid.
    pub fn parsed<T: FromStr + Default>(
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
        // Parsed as an `i64`, like a NumericDate.
        let valid = |seconds: &i64| *seconds > 0;
        let seconds = self.parsed(name, "a whole number of seconds, at least 1", valid);
        Duration::from_secs(seconds.unsigned_abs())
    }
}

/// The KMS keys that sign and verify access keys, and the issuer and audience in those access keys.
#[derive(Debug, Clone)]
pub struct KeySettings {
    pub issuer: TokenIssuer,
    /// KMS key ids, ARNs or aliases. The first key signs tokens, and all keys verify them.
    pub signing_keys: Vec<String>,
}

impl KeySettings {
    /// Reads `KEY_ISSUER`, `KEY_AUDIENCE` and `SIGNING_KEYS`.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let issuer = TokenIssuer {
            issuer: environment.required("KEY_ISSUER"),
            audience: environment.required("KEY_AUDIENCE"),
        };
        let signing_keys = environment.required("SIGNING_KEYS");
        Self {
            issuer,
            signing_keys: list(&signing_keys).map(str::to_owned).collect(),
        }
    }
}

/// Returns the entries of a comma-separated list.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

/// The limits on the lifetime and the number of keys, and the default lifetime.
#[derive(Debug, Clone, Copy)]
pub struct KeyLimits {
    pub shortest: Duration,
    pub longest: Duration,
    /// The lifetime of a key if the request does not specify an expiry.
    pub default: Duration,
    /// The maximum number of live keys that a user may have.
    pub per_user: usize,
    /// The maximum number of first sign-ins that a tenant may have per hour.
    pub first_sign_ins: u32,
}

impl KeyLimits {
    /// Reads `MIN_EXPIRY_SECONDS`, `MAX_EXPIRY_SECONDS`, `DEFAULT_EXPIRY_SECONDS`, `MAX_KEYS_PER_USER` and
    /// `MAX_FIRST_SIGN_INS_PER_HOUR`.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let settings = Self {
            shortest: environment.seconds("MIN_EXPIRY_SECONDS"),
            longest: environment.seconds("MAX_EXPIRY_SECONDS"),
            default: environment.seconds("DEFAULT_EXPIRY_SECONDS"),
            per_user: environment.parsed(
                "MAX_KEYS_PER_USER",
                "a whole number, 1 to 1000",
                |keys| (1..=1000).contains(keys),
            ),
            first_sign_ins: environment.parsed(
                "MAX_FIRST_SIGN_INS_PER_HOUR",
                "a whole number, 1 to 1000000",
                |people| (1..=1_000_000).contains(people),
            ),
        };
        if !(settings.shortest..=settings.longest).contains(&settings.default) {
            environment.problems.push(
                "MIN_EXPIRY_SECONDS <= DEFAULT_EXPIRY_SECONDS <= MAX_EXPIRY_SECONDS must hold"
                    .into(),
            );
        }
        settings
    }

    /// Returns the lifetimes that can be requested, in whole days; `None` if no whole number of days is within the
    /// limits.
    #[must_use]
    pub fn days(&self) -> Option<RangeInclusive<i64>> {
        let days = |seconds: u64| i64::try_from(seconds / DAY).unwrap_or(i64::MAX);
        let first = days(self.shortest.as_secs().saturating_add(DAY - 1));
        let (first, last) = (first.max(1), days(self.longest.as_secs()));
        (first <= last).then_some(first..=last)
    }

    /// Returns the expiry times that a key created at `now` may have.
    #[must_use]
    pub fn times(&self, now: Timestamp) -> RangeInclusive<Timestamp> {
        let now = now.to_second();
        now + self.shortest..=now + self.longest
    }
}

/// The OIDC claims that identify the caller, and the first administrators.
#[derive(Debug, Clone)]
pub struct CallerSettings {
    pub tenant_claim: String,
    pub user_claim: String,
    pub email_claim: String,
    pub name_claim: String,
    pub bootstrap_admins: Vec<BootstrapAdmin>,
    /// The identity provider's clients that may act in every tenant.
    pub operator_clients: Vec<String>,
    /// The scope that an operator's token must have.
    pub operator_scope: String,
}

/// A person who becomes an administrator of a tenant when they sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapAdmin {
    pub tenant_id: TenantId,
    person: Person,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Person {
    User(UserId),
    Email(String),
}

impl BootstrapAdmin {
    /// Whether the entry names this user.
    #[must_use]
    pub fn is(&self, user: &UserId, verified_email: Option<&str>) -> bool {
        match &self.person {
            Person::User(named) => named == user,
            // Case is ignored only for ASCII letters, because converting to lower case turns some other letters into
            // ASCII letters.
            Person::Email(named) => {
                verified_email.is_some_and(|email| email.eq_ignore_ascii_case(named))
            }
        }
    }
}

/// Reads `tenant/sub:x` or `tenant/email:x`. Without a prefix, a name with `@` is an e-mail address, and any other name
/// is a user id.
impl FromStr for BootstrapAdmin {
    type Err = ();

    fn from_str(entry: &str) -> Result<Self, ()> {
        let (tenant, person) = entry.split_once('/').ok_or(())?;
        let user = |id: &str| id.parse().map(Person::User).map_err(|_| ());
        let email = |address: &str| {
            let address = Some(address).filter(|address| is_email(address));
            address
                .map(|address| Person::Email(address.to_owned()))
                .ok_or(())
        };
        let person = match person.split_once(':') {
            Some(("sub", id)) => user(id)?,
            Some(("email", address)) => email(address)?,
            _ if person.contains('@') => email(person)?,
            _ => user(person)?,
        };
        let tenant_id = tenant.parse().map_err(|_| ())?;
        Ok(Self { tenant_id, person })
    }
}

impl CallerSettings {
    /// Reads `TENANT_CLAIM`, `USER_CLAIM`, `EMAIL_CLAIM`, `NAME_CLAIM`, `BOOTSTRAP_ADMINS`, `OPERATOR_CLIENTS` and
    /// `OPERATOR_SCOPE`.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let admins = environment.optional("BOOTSTRAP_ADMINS").unwrap_or_default();
        let entries: Result<Vec<_>, ()> = list(&admins).map(str::parse).collect();
        let bootstrap_admins = entries.unwrap_or_else(|()| {
            environment.problems.push(
                "BOOTSTRAP_ADMINS must be a comma-separated list of tenant/sub:x or tenant/email:x"
                    .into(),
            );
            Vec::new()
        });
        Self {
            tenant_claim: environment.required("TENANT_CLAIM"),
            user_claim: environment.required("USER_CLAIM"),
            email_claim: environment.required("EMAIL_CLAIM"),
            name_claim: environment.required("NAME_CLAIM"),
            bootstrap_admins,
            operator_clients: clients(environment, "OPERATOR_CLIENTS"),
            operator_scope: environment.required("OPERATOR_SCOPE"),
        }
    }
}

/// Reads `PLATFORM_CLIENTS`: the identity provider's clients that may act for all tenants.
pub fn platform_clients(environment: &mut Environment<'_>) -> Vec<String> {
    clients(environment, "PLATFORM_CLIENTS")
}

fn clients(environment: &mut Environment<'_>, name: &'static str) -> Vec<String> {
    let clients = environment.optional(name).unwrap_or_default();
    list(&clients).map(str::to_owned).collect()
}

/// Reads `OIDC_AUDIENCES`: the audiences of the identity provider's tokens.
pub fn audiences(environment: &mut Environment<'_>) -> Vec<String> {
    let audiences = environment.required("OIDC_AUDIENCES");
    list(&audiences).map(str::to_owned).collect()
}

/// Reads `AUDIT_RETENTION_DAYS`: how long an entry in the audit trail is kept.
pub fn audit_retention(environment: &mut Environment<'_>) -> Duration {
    days(environment, "AUDIT_RETENTION_DAYS")
}

/// When to create notices about keys, and when to revoke unused keys.
#[derive(Debug, Clone)]
pub struct NoticeSettings {
    /// When a key gets notices, as periods before its expiry. A period that is longer than half of a key's lifetime is
    /// ignored for that key.
    pub before_expiry: BTreeSet<Duration>,
    /// How long a key must be unused before it is reported as unused. `None` means never.
    pub unused_after: Option<Duration>,
    /// A key is revoked this long after it was reported as unused, if it is still unused. `None` means never.
    pub revoke_unused_after: Option<Duration>,
}

impl NoticeSettings {
    /// Reads `NOTICE_DAYS`, `UNUSED_AFTER_DAYS` and `REVOKE_UNUSED_AFTER_DAYS`.
    pub fn read(environment: &mut Environment<'_>) -> Self {
        let marks = environment.optional("NOTICE_DAYS").unwrap_or_default();
        let is_allowed = |days: &u64| (1..=365).contains(days);
        let days = list(&marks).map(|days| days.parse().ok().filter(is_allowed));
        let days: Option<BTreeSet<u64>> = days.collect();
        let days = days.unwrap_or_else(|| {
            let rule = "NOTICE_DAYS must be a comma-separated list of whole numbers, 1 to 365";
            environment.problems.push(rule.into());
            BTreeSet::new()
        });
        let settings = Self {
            before_expiry: days
                .iter()
                .map(|days| Duration::from_secs(days * DAY))
                .collect(),
            unused_after: days_or_never(environment, "UNUSED_AFTER_DAYS"),
            revoke_unused_after: days_or_never(environment, "REVOKE_UNUSED_AFTER_DAYS"),
        };
        if settings.unused_after.is_none() && settings.revoke_unused_after.is_some() {
            let rule = "REVOKE_UNUSED_AFTER_DAYS requires UNUSED_AFTER_DAYS, because only reported keys are revoked";
            environment.problems.push(rule.into());
        }
        settings
    }
}

/// Reads a number of days, where 0 means never.
fn days_or_never(environment: &mut Environment<'_>, name: &'static str) -> Option<Duration> {
    let rule = "a whole number of days, 0 to 3650";
    let days = environment.parsed(name, rule, |days: &u64| *days <= 3650);
    (days > 0).then(|| Duration::from_secs(days * DAY))
}

/// Reads `HISTORY_DAYS`: how long an expired key, or a node that no longer calls, stays in the lists.
pub fn history(environment: &mut Environment<'_>) -> Duration {
    days(environment, "HISTORY_DAYS")
}

fn days(environment: &mut Environment<'_>, name: &'static str) -> Duration {
    let rule = "a whole number of days, 1 to 3650";
    let days = environment.parsed(name, rule, |days: &u64| (1..=3650).contains(days));
    Duration::from_secs(days * DAY)
}

/// Reads `CLUSTER_INACTIVE_AFTER_SECONDS`: how long after its last call a cluster or node becomes inactive.
pub fn inactive_after(environment: &mut Environment<'_>) -> Duration {
    environment.seconds("CLUSTER_INACTIVE_AFTER_SECONDS")
}

/// Reads `MAX_NODES_PER_CLUSTER`, `CLUSTER_INACTIVE_AFTER_SECONDS` and `HISTORY_DAYS`.
pub fn node_quota(environment: &mut Environment<'_>) -> NodeQuota {
    let rule = "a whole number, 1 to 10000";
    let is_allowed = |nodes: &u32| (1..=10_000).contains(nodes);
    NodeQuota {
        nodes: environment.parsed("MAX_NODES_PER_CLUSTER", rule, is_allowed),
        inactive_after: inactive_after(environment),
        history: history(environment),
    }
}

/// Reads `MAX_STALENESS_SECONDS`: the maximum age of the data that `validate` may use, even if a request allows
/// older data.
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
    fn a_lifetime_in_days_is_within_the_limits() {
        let days = |shortest, longest| {
            let [shortest, longest] = [shortest, longest].map(Duration::from_secs);
            let default = shortest;
            let settings = KeyLimits {
                shortest,
                longest,
                default,
                per_user: 1,
                first_sign_ins: 1,
            };
            settings.days().map(RangeInclusive::into_inner)
        };
        assert_eq!(days(1, DAY), Some((1, 1)));
        assert_eq!(days(DAY + 1, 3 * DAY), Some((2, 3)));
        assert_eq!(days(1, DAY - 1), None);
        assert_eq!(days(DAY + 1, 2 * DAY - 1), None);
    }

    #[test]
    fn the_default_lifetime_must_be_within_the_limits() {
        let problem = |default: &str| {
            let lookup = |name: &str| match name {
                "MIN_EXPIRY_SECONDS" => Some("600".into()),
                "MAX_EXPIRY_SECONDS" => Some("3600".into()),
                "MAX_KEYS_PER_USER" => Some("100".into()),
                _ => Some(default.to_owned()),
            };
            read_from(&lookup, KeyLimits::read).err()
        };
        for outside in ["599", "3601"] {
            let problem = problem(outside).unwrap().to_string();
            assert!(problem.contains("DEFAULT_EXPIRY_SECONDS"), "{problem}");
        }
        for within in ["600", "3600"] {
            assert!(problem(within).is_none(), "{within}");
        }
    }

    #[test]
    fn one_error_reports_every_problem() {
        let lookup = |name: &str| match name {
            "MIN_EXPIRY_SECONDS" => Some("soon".into()),
            "MAX_EXPIRY_SECONDS" => Some("100".into()),
            "BOOTSTRAP_ADMINS" => Some("nobody".into()),
            "TENANT_CLAIM" | "USER_CLAIM" | "EMAIL_CLAIM" => Some("x".into()),
            _ => None,
        };
        let error = read_from(&lookup, |environment| {
            KeyLimits::read(environment);
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

    #[test]
    fn a_bootstrap_administrator_is_named_by_id_or_by_verified_address() {
        let names = |entry: &str, user: &str, email: Option<&str>| {
            let admin: BootstrapAdmin = entry.parse().unwrap();
            assert_eq!(admin.tenant_id.as_str(), "acme");
            admin.is(&user.parse().unwrap(), email)
        };
        for (entry, user, email) in [
            ("acme/ann", "ann", None),
            ("acme/sub:ann", "ann", None),
            ("acme/sub:ann@x.example", "ann@x.example", None),
            ("acme/auth0|a:b", "auth0|a:b", None),
            ("acme/Ann@X.Example", "1", Some("ann@x.example")),
            ("acme/email:ann@x.example", "1", Some("Ann@X.example")),
            ("acme/email:jörg@x.example", "1", Some("Jörg@x.example")),
        ] {
            assert!(names(entry, user, email), "{entry}");
        }
        for (entry, user, email) in [
            ("acme/ann", "Ann", None),
            ("acme/sub:ann", "sub:ann", Some("ann")),
            ("acme/ann@x.example", "ann@x.example", None),
            ("acme/mark@x.example", "1", Some("mar\u{212a}@x.example")),
            ("acme/sub:ann@x.example", "1", Some("ann@x.example")),
        ] {
            assert!(!names(entry, user, email), "{entry}");
        }
        for bad in [
            "",
            "ann",
            "/ann",
            "acme/",
            "acme/sub:",
            "acme/email:ann",
            "a b/ann",
            "acme/@",
        ] {
            assert!(bad.parse::<BootstrapAdmin>().is_err(), "{bad}");
        }
    }
}
