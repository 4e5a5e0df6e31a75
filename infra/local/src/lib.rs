//! The whole AWS deployment on one machine, as `infra/template.yaml` describes it: the gateway, functions, table, keys
//! and events.
//!
//! Every function is a separate OS process that uses the Lambda Runtime API. No function is called in-process.

mod backends;
mod cargo;
mod clock;
pub mod demo;
mod dynamo;
mod event_bridge;
mod events;
mod files;
mod function;
mod gateway;
mod iam;
mod issuer;
mod kms;
mod logs;
mod proxy;
mod runtime_api;
mod scheduler;
mod template;
mod web;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
pub use dynoxide;
use serde_json::Value;
use tokio::{sync::broadcast, task::JoinSet};

use crate::{
    backends::Backends,
    dynamo::Dynamo,
    events::{DeadLetters, Mapping},
    function::{Function, Settings},
    gateway::Gateway,
    iam::{Access, Permissions},
    issuer::Issuer,
    kms::{Blob, CreateAlias, CreateKey, Sign},
    logs::Logs,
    scheduler::Schedule,
    template::{ACCOUNT, REGION, Resource, Scalar, Template},
    web::Server,
};
pub use crate::{
    iam::{Permission, Service},
    logs::LogLine,
    proxy::{Fault, Request, Rule, RuleGuard},
    runtime_api::{InvokeError, RuntimeApi},
};

/// The `iss` of the keys that a local stack issues. It contains no port, so that keys stay valid after a restart
/// on another port.
const KEY_ISSUER: &str = "https://access-keys.local";

/// The options of [`Stack::start`].
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory for the table, the KMS keys and the issuer's key. `None` keeps them in memory.
    pub data: Option<PathBuf>,
    /// The gateway's port. 0 selects a free one.
    pub port: u16,
    /// Values for the template's parameters.
    pub parameters: Vec<(String, String)>,
    /// How often expired items are deleted. With `None`, only [`Stack::sweep_ttl`] deletes them.
    pub ttl_sweep: Option<Duration>,
    /// Whether the schedules run automatically. If false, only [`Stack::run_schedules`] runs them.
    pub schedules: bool,
    /// How many invocations of one function can run at the same time.
    pub processes_per_function: usize,
    /// Whether the stage's throttling limits apply.
    pub throttling: bool,
    /// Whether to copy the functions' logs to stderr.
    pub verbose: bool,
    /// The claims of the users on the issuer's sign-in page.
    pub people: Vec<Value>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: None,
            port: 0,
            parameters: Vec::new(),
            ttl_sweep: None,
            schedules: false,
            processes_per_function: 4,
            throttling: false,
            verbose: false,
            people: Vec::new(),
        }
    }
}

/// A running stack. Dropping a stack stops it. [`Stack::stop`] also waits until the stack has stopped.
pub struct Stack {
    // Fields are dropped in the order of their declaration, so the gateway stops first.
    gateway: Server,
    tasks: JoinSet<()>,
    functions: BTreeMap<String, Arc<Function>>,
    mappings: Vec<Arc<Mapping>>,
    schedules: Vec<Arc<Schedule>>,
    backends: Backends,
    issuer: Issuer,
    logs: Logs,
    dead_letters: DeadLetters,
    audience: String,
    _lock: Option<File>,
}

impl Stack {
    /// Builds the functions and starts everything. Returns when every function is waiting for its first invocation.
    ///
    /// # Errors
    ///
    /// Fails if another stack uses the data directory, the port is in use, a function does not build or start, or the
    /// template contains something that the stack does not support.
    pub async fn start(options: Options) -> Result<Self> {
        let data = options.data.as_deref();
        let lock = data.map(lock_directory).transpose()?;
        // These steps precede the slow ones, so that a wrong option or a port in use is reported immediately.
        let listener = web::bind(options.port).await?;
        let issuer_listener = web::bind(0).await?;
        let mut template = read_template(&web::url(&issuer_listener)?, &options.parameters)?;
        let console = console_client(&template, web::url(&listener)?, &options.people);
        let audience = console.audience.clone();
        let issuer = Issuer::start(data, issuer_listener, console).await?;
        let bin_directory = cargo::build().await?;

        template.set("Api", "ApiEndpoint", web::url(&listener)?);
        let backends = Backends::start(&mut template, data).await?;
        template.check()?;
        let logs = Logs::new(options.verbose);
        let functions = functions(&template, &bin_directory, &backends, &logs, &options)?;
        let port = web::port(&listener)?;
        let gateway = Gateway::new(&template, port, options.throttling, |reference| {
            find_function(&functions, reference)
        })?;
        let dead_letters = DeadLetters::default();
        let mappings = mappings(&template, &functions, &backends, data, &dead_letters)?;
        let schedules = schedules(&template, &functions, &backends.permissions)?;

        start_functions(&functions).await?;
        Ok(Self {
            gateway: gateway.serve(listener)?,
            tasks: spawn_tasks(&mappings, &schedules, &backends.dynamo, &options),
            functions,
            mappings,
            schedules,
            backends,
            issuer,
            logs,
            dead_letters,
            audience,
            _lock: lock,
        })
    }

    /// Returns the gateway's base URL.
    pub fn url(&self) -> &str {
        &self.gateway.url
    }

    /// Returns the OIDC issuer's URL.
    pub fn issuer(&self) -> &str {
        &self.issuer.server.url
    }

    /// Issues a token with these claims. Adds `iss`, `aud`, `iat` and `exp` if they are absent.
    pub fn token(&self, claims: Value) -> String {
        self.issuer.token(&self.audience, claims)
    }

    /// Issues a token with exactly these claims. The fields of `header` are added to the token's header.
    pub fn sign_token(&self, header: &Value, claims: &Value) -> String {
        self.issuer.sign(header, claims)
    }

    /// Returns the database behind the DynamoDB endpoint.
    pub fn database(&self) -> &dynoxide::Database {
        &self.backends.dynamo.database
    }

    /// Returns the name of the template's table.
    pub fn table(&self) -> &str {
        &self.backends.dynamo.table
    }

    /// Returns the URL of the DynamoDB server itself. Requests to this URL bypass the proxy.
    pub fn dynamodb_endpoint(&self) -> &str {
        &self.backends.dynamo.url
    }

    /// Returns the URL of the KMS server itself. Requests to this URL bypass the proxy.
    pub fn kms_endpoint(&self) -> &str {
        &self.backends.kms_server.url
    }

    /// Returns the ARN of the template's KMS key.
    pub fn signing_key(&self) -> &str {
        &self.backends.signing_key
    }

    /// Creates another KMS key, with the same policy as the template's key. Returns the ARN of the new key.
    pub async fn create_key(&self, spec: &str) -> Result<String> {
        let kms = self.backends.kms.clone();
        let policy = kms.get_key_policy(self.signing_key().into())?.policy;
        let request = CreateKey::to_sign(spec, Some(policy));
        let created = tokio::task::spawn_blocking(move || kms.create_key(request)).await;
        let created = created.context("the KMS task failed")??;
        Ok(created.key_metadata.arn)
    }

    /// Enables or disables a KMS key.
    pub fn set_key_enabled(&self, key_arn: &str, enabled: bool) -> Result<()> {
        let (kms, key) = (&self.backends.kms, key_arn.into());
        if enabled {
            kms.enable_key(key)?;
        } else {
            kms.disable_key(key)?;
        }
        Ok(())
    }

    /// Points an alias to a KMS key. Creates the alias if it does not exist.
    pub fn set_alias(&self, name: &str, key_arn: &str) -> Result<()> {
        let kms = &self.backends.kms;
        let request = || CreateAlias {
            alias_name: name.to_owned(),
            target_key_id: key_arn.to_owned(),
        };
        if kms.update_alias(request()).is_err() {
            kms.create_alias(request())?;
        }
        Ok(())
    }

    /// Signs `message` with a KMS key and the key's algorithm. An ECDSA signature is DER-encoded.
    pub async fn sign(&self, key_arn: &str, message: &[u8]) -> Result<Vec<u8>> {
        let key = self.backends.kms.describe_key(key_arn.into())?;
        let [algorithm] = key.key_metadata.signing_algorithms;
        let signature = self.backends.kms.sign(Sign {
            key_id: key_arn.to_owned(),
            message: Blob(message.to_vec()),
            message_type: "RAW".to_owned(),
            signing_algorithm: algorithm.to_owned(),
        })?;
        Ok(signature.signature.0)
    }

    /// Adds a rule, which is applied after the rules that are already active. The rule is active until the guard is
    /// dropped.
    pub fn inject(&self, rule: Rule) -> RuleGuard {
        self.backends.faults.add(rule)
    }

    /// Returns the permissions of a function's role for DynamoDB, the table's stream, KMS, EventBridge and SQS.
    /// `function` is the name of the function's binary.
    pub fn allowed_permissions(&self, function: &str) -> BTreeSet<Permission> {
        self.backends.permissions.allowed(function)
    }

    /// Returns the permissions that a function has used. `function` is the name of the function's binary.
    pub fn used_permissions(&self, function: &str) -> BTreeSet<Permission> {
        self.backends.permissions.used(function)
    }

    /// Returns the names of the functions' binaries.
    pub fn function_names(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }

    /// Returns the latest events that the functions sent to EventBridge, oldest first, in the form in which targets
    /// receive them.
    pub fn events(&self) -> Vec<Value> {
        self.backends.event_bridge.events()
    }

    /// Returns a receiver for the events that the functions send after this call.
    pub fn subscribe(&self) -> broadcast::Receiver<Value> {
        self.backends.event_bridge.subscribe()
    }

    /// Returns the latest requests that the functions sent to DynamoDB, KMS and EventBridge, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.backends.faults.requests()
    }

    /// Returns how many of the latest requests match.
    pub fn count(&self, matches: impl Fn(&Request) -> bool) -> usize {
        self.backends.faults.count(matches)
    }

    /// Returns the latest log lines of the functions, oldest first.
    pub fn logs(&self) -> Vec<LogLine> {
        self.logs.all()
    }

    /// Deletes the expired items and returns their number.
    pub fn sweep_ttl(&self) -> Result<usize> {
        let swept = self.backends.dynamo.database.sweep_ttl();
        let swept = swept.context("cannot delete expired items")?;
        self.mappings.iter().for_each(|mapping| mapping.wake());
        Ok(swept)
    }

    /// Runs every schedule as if the current time were `second`, in seconds since 1970. Returns the results of the
    /// functions.
    pub async fn run_schedules(&self, second: u64) -> Result<Vec<Result<Value, InvokeError>>> {
        let mut outcomes = Vec::new();
        for schedule in &self.schedules {
            outcomes.push(schedule.run(Duration::from_secs(second)).await?);
        }
        Ok(outcomes)
    }

    /// Waits until every record that was in the table's stream at the time of the call has been processed.
    pub async fn drain_events(&self) {
        for mapping in &self.mappings {
            mapping.drain().await;
        }
    }

    /// Returns the batches of events that failed on every attempt, in the form in which Lambda sends them to a queue.
    pub fn dead_letters(&self) -> Vec<Value> {
        self.dead_letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Invokes a function, as `aws lambda invoke` does. `function` is the name of the function's binary.
    pub async fn invoke(&self, function: &str, event: Value) -> Result<Value, InvokeError> {
        match self.functions.get(function) {
            Some(function) => function.invoke(event).await,
            None => Err(InvokeError::Function {
                error_type: "ResourceNotFoundException".to_owned(),
                message: format!("Function not found: {function}"),
            }),
        }
    }

    /// Returns the environment of a function's processes, without `AWS_LAMBDA_RUNTIME_API`. Use this environment to
    /// start a process with another [`RuntimeApi`]. `function` is the name of the function's binary.
    pub fn environment(&self, function: &str) -> Vec<(String, String)> {
        self.functions
            .get(function)
            .map(|function| function.environment())
            .unwrap_or_default()
    }

    /// Serves the HTTP API of another template, which may name this stack's functions by ARN.
    ///
    /// # Errors
    ///
    /// Fails if the template contains something that the stack does not support.
    pub async fn serve_api(&self, template: &Path, parameters: &[(String, String)]) -> Result<Api> {
        let template = parse_template(template, parameters)?;
        template.check()?;
        let listener = web::bind(0).await?;
        let gateway = Gateway::new(&template, web::port(&listener)?, false, |reference| {
            find_function(&self.functions, reference)
        })?;
        Ok(Api(gateway.serve(listener)?))
    }

    /// Returns a function's ARN, including the alias. `function` is the name of the function's binary.
    pub fn function_arn(&self, function: &str) -> Option<&str> {
        self.functions.get(function).map(|function| function.arn())
    }

    /// Returns the ids of a function's current processes. `function` is the name of the function's binary.
    pub fn process_ids(&self, function: &str) -> Vec<u32> {
        self.functions
            .get(function)
            .map(|function| function.process_ids())
            .unwrap_or_default()
    }

    /// Stops everything and waits until every process has ended and the database is closed.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        let mut stopping = JoinSet::new();
        for function in self.functions.values() {
            let function = function.clone();
            stopping.spawn(async move { function.stop().await });
        }
        stopping.join_all().await;
        self.backends.dynamo.stop().await;
    }
}

/// An HTTP API in addition to the stack's own. Dropping an `Api` stops its server.
pub struct Api(Server);

impl Api {
    /// Returns the base URL.
    pub fn url(&self) -> &str {
        &self.0.url
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.functions.values().for_each(|function| function.kill());
    }
}

/// Creates the data directory and locks it against other stacks.
fn lock_directory(data: &Path) -> Result<File> {
    let cannot = || format!("cannot use {}", data.display());
    std::fs::create_dir_all(data).with_context(cannot)?;
    let lock = File::create(data.join("lock")).with_context(cannot)?;
    lock.try_lock()
        .with_context(|| format!("{}: is another stack using it?", cannot()))?;
    Ok(lock)
}

/// Reads the template of the AWS deployment. The values in `overrides` take precedence, even over those that the stack
/// itself sets.
fn read_template(issuer_url: &str, overrides: &[(String, String)]) -> Result<Template> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let mut parameters = vec![
        ("OidcIssuer".to_owned(), issuer_url.to_owned()),
        ("KeyIssuer".to_owned(), KEY_ISSUER.to_owned()),
        ("ReleaseId".to_owned(), "local".to_owned()),
    ];
    parameters.extend(overrides.iter().cloned());
    parse_template(&path, &parameters)
}

fn parse_template(path: &Path, parameters: &[(String, String)]) -> Result<Template> {
    let yaml =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Template::parse(&yaml, parameters)
}

/// Returns the registration of the console as a client of the issuer. `people` are the users who may sign in to the
/// console.
fn console_client(template: &Template, origin: String, people: &[Value]) -> issuer::Client {
    let parameter = |name: &str| template.parameter(name).unwrap_or_default().to_owned();
    issuer::Client {
        id: parameter("ConsoleClientId"),
        origin,
        audience: parameter("OidcAudience"),
        people: people.to_vec(),
    }
}

/// Returns the template's functions, keyed by the names of their binaries.
fn functions(
    template: &Template,
    bin_directory: &Path,
    backends: &Backends,
    logs: &Logs,
    options: &Options,
) -> Result<BTreeMap<String, Arc<Function>>> {
    let mut functions = BTreeMap::new();
    for resource in template.of_type::<template::Function>()? {
        let name = resource.binary()?.to_owned();
        let Resource { id, properties, .. } = resource;
        if properties.events.is_some() {
            bail!("{id}: the local stack supports routes and mappings, but not Events");
        }
        check_logs(&name, &properties, &backends.permissions)?;
        let variables = properties.environment.variables.into_iter();
        let endpoints = [
            (
                "AWS_ENDPOINT_URL_DYNAMODB".to_owned(),
                backends.dynamodb_proxy.url.clone(),
            ),
            (
                "AWS_ENDPOINT_URL_KMS".to_owned(),
                backends.kms_proxy.url.clone(),
            ),
            (
                "AWS_ENDPOINT_URL_EVENTBRIDGE".to_owned(),
                backends.event_bridge_proxy.url.clone(),
            ),
        ];
        let settings = Settings {
            name: name.clone(),
            function_name: template
                .attribute(&id, "Ref")
                .unwrap_or_default()
                .to_owned(),
            arn: arn(template, &id),
            executable: bin_directory.join(&name),
            // The defaults are the same as in Lambda.
            timeout: Duration::from_secs(properties.timeout.map_or(3, |timeout| timeout.0)),
            memory: properties.memory_size.map_or(128, |size| size.0),
            environment: variables
                .map(|(name, Scalar(value))| (name, value))
                .chain(endpoints)
                .collect(),
            processes: options.processes_per_function,
        };
        functions.insert(name, Function::new(settings, logs.clone()));
    }
    Ok(functions)
}

/// Returns the ARN for invoking a function, including the alias if the template declares one.
fn arn(template: &Template, id: &str) -> String {
    let attribute = |name| template.attribute(id, name);
    let arn = attribute("Alias").or_else(|| attribute("Arn"));
    arn.unwrap_or_default().to_owned()
}

/// Refuses a function whose role does not allow writing to the function's log group, because Lambda would silently drop
/// the logs.
fn check_logs(name: &str, function: &template::Function, permissions: &Permissions) -> Result<()> {
    let Some(config) = &function.logging_config else {
        bail!("the function {name} has no log group");
    };
    let group = &config.log_group;
    let arn = format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:*");
    for action in ["logs:CreateLogStream", "logs:PutLogEvents"] {
        if !permissions.is_allowed(name, &Access::plain(action, arn.as_str())) {
            bail!("the function {name} lacks {action} on {group}");
        }
    }
    Ok(())
}

/// Finds a function by its ARN. If the template declares an alias, the ARN must include it, because a call without the
/// alias would use code or settings whose deployment is not finished yet.
fn find_function(
    functions: &BTreeMap<String, Arc<Function>>,
    reference: &str,
) -> Result<Arc<Function>> {
    functions
        .values()
        .find(|function| function.arn() == reference)
        .cloned()
        .with_context(|| format!("the template has no function or alias {reference}"))
}

/// Returns the template's event source mappings.
fn mappings(
    template: &Template,
    functions: &BTreeMap<String, Arc<Function>>,
    backends: &Backends,
    data: Option<&Path>,
    dead_letters: &DeadLetters,
) -> Result<Vec<Arc<Mapping>>> {
    let mut mappings = Vec::new();
    for resource in template.of_type::<template::EventSourceMapping>()? {
        let id = resource.id.clone();
        let function = find_function(functions, &resource.properties.function_name)?;
        let mapping = Mapping::new(resource, backends, function, data, dead_letters);
        mappings.push(Arc::new(mapping.context(id)?));
    }
    Ok(mappings)
}

fn schedules(
    template: &Template,
    functions: &BTreeMap<String, Arc<Function>>,
    permissions: &Permissions,
) -> Result<Vec<Arc<Schedule>>> {
    let schedules = template.of_type::<template::Schedule>()?.into_iter();
    let schedules = schedules.map(|resource| {
        let function = find_function(functions, &resource.properties.target.arn)?;
        Ok(Arc::new(Schedule::new(resource, function, permissions)?))
    });
    schedules.collect()
}

/// Starts the first process of every function and waits until all of them are ready.
async fn start_functions(functions: &BTreeMap<String, Arc<Function>>) -> Result<()> {
    let mut starting = JoinSet::new();
    for function in functions.values() {
        let function = function.clone();
        starting.spawn(async move { function.start().await });
    }
    while let Some(started) = starting.join_next().await {
        started.context("a function did not start")??;
    }
    Ok(())
}

/// Spawns a task for each mapping and, depending on the options, for each schedule and for TTL.
fn spawn_tasks(
    mappings: &[Arc<Mapping>],
    schedules: &[Arc<Schedule>],
    dynamo: &Dynamo,
    options: &Options,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for mapping in mappings {
        let mapping = mapping.clone();
        tasks.spawn(async move {
            if let Err(error) = mapping.poll().await {
                eprintln!("the event source mapping has ended: {error:#}");
            }
        });
    }
    for schedule in schedules.iter().filter(|_| options.schedules) {
        let schedule = schedule.clone();
        tasks.spawn(async move {
            if let Err(error) = schedule.run_forever().await {
                eprintln!("a schedule has ended: {error:#}");
            }
        });
    }
    if let Some(interval) = options.ttl_sweep {
        let (database, mappings) = (dynamo.database.clone(), mappings.to_vec());
        tasks.spawn(sweep_forever(interval, database, mappings));
    }
    tasks
}

async fn sweep_forever(
    interval: Duration,
    database: dynoxide::Database,
    mappings: Vec<Arc<Mapping>>,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let database = database.clone();
        match tokio::task::spawn_blocking(move || database.sweep_ttl()).await {
            Ok(Ok(0)) => {}
            Ok(Ok(_)) => mappings.iter().for_each(|mapping| mapping.wake()),
            Ok(Err(error)) => eprintln!("cannot delete expired items: {error}"),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = include_str!("../../template.yaml");

    /// Reads and checks a template as far as that is possible without starting processes. If the template is refused,
    /// returns the reason.
    fn refusal(yaml: &str) -> Option<String> {
        let read = || -> Result<()> {
            let parameters = [
                ("OidcIssuer", "https://idp.example"),
                ("ReleaseId", "1"),
                ("CorsOrigins", "https://app.example"),
                ("CreateSecretRotation", "true"),
            ];
            let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let mut template = Template::parse(yaml, &parameters)?;
            template.set("Api", "ApiEndpoint", "http://127.0.0.1");
            template.set("SigningKey", "Ref", "1");
            let table = template.attribute("Table", "Arn").unwrap_or_default();
            let stream = format!("{table}/stream/1");
            template.set("Table", "StreamArn", stream);
            template.check()?;
            let permissions = Permissions::read(&template, &kms::Kms::open(None)?)?;
            let mut functions = BTreeMap::new();
            for resource in template.of_type::<template::Function>()? {
                let name = resource.binary()?.to_owned();
                check_logs(&name, &resource.properties, &permissions)?;
                let arn = arn(&template, &resource.id);
                let settings = Settings {
                    name: name.clone(),
                    function_name: String::new(),
                    arn,
                    executable: PathBuf::new(),
                    timeout: Duration::ZERO,
                    memory: 0,
                    environment: Vec::new(),
                    processes: 1,
                };
                functions.insert(name, Function::new(settings, Logs::new(false)));
            }
            Gateway::new(&template, 0, false, |arn| find_function(&functions, arn))?;
            for mapping in template.of_type::<template::EventSourceMapping>()? {
                let function = find_function(&functions, &mapping.properties.function_name)?;
                events::require_permissions(function.name(), &mapping.properties, &permissions)?;
            }
            schedules(&template, &functions, &permissions)?;
            Ok(())
        };
        read().err().map(|error| format!("{error:#}"))
    }

    /// A part of the template, a broken version of that part, and a part of the reason why the broken template is
    /// refused.
    const BROKEN: [(&str, &str, &str); 17] = [
        (
            "RouteKey: GET /v1/users\n",
            "RouteKey: GET /v1/users/\n",
            "RouteKey GET /v1/users/",
        ),
        ("      - ValidateRoute\n", "", "DependsOn does not name"),
        (
            "IntegrationUri: !Ref ValidateFunction.Alias",
            "IntegrationUri: !GetAtt ValidateFunction.Arn",
            "no permission to invoke",
        ),
        (
            "      FunctionName: !Ref ValidateFunction.Alias\n      Principal",
            "      FunctionName: !Ref ValidateFunction\n      Principal",
            "no permission to invoke",
        ),
        (
            "FunctionName: !Ref CleanupFunction.Alias",
            "FunctionName: !GetAtt CleanupFunction.Arn",
            "no function or alias",
        ),
        (
            "Action: [logs:CreateLogStream, logs:PutLogEvents]",
            "Action: [logs:CreateLogStream]",
            "lacks logs:PutLogEvents",
        ),
        (
            "Action: dynamodb:ListStreams",
            "Action: dynamodb:ListTables",
            "lacks dynamodb:ListStreams",
        ),
        (
            "Action: kms:Sign\n                Resource: !Sub arn:${AWS::Partition}:kms:${AWS::Region}:${AWS::AccountId}:key/*",
            "Action: kms:Sign\n                Resource: \"*\"",
            "wildcards in kms:Sign",
        ),
        (
            "Role: !GetAtt ListFunctionRole.Arn",
            "Role: arn:aws:iam::000000000000:role/other",
            "there is no role",
        ),
        (
            "AllowOrigins: !Split [\",\", !Ref CorsOrigins]",
            "AllowOrigins: !Ref CorsOrigins",
            "Api (AWS::ApiGatewayV2::Api): CorsConfiguration.AllowOrigins",
        ),
        (
            "AllowOrigins: !Split [\",\", !Ref CorsOrigins]",
            "AllowOrigins: [https://*.example]",
            "AllowOrigins https://*.example",
        ),
        (
            "AllowMethods: [DELETE, GET,",
            "AllowMethods: [FETCH, GET,",
            "AllowMethods FETCH",
        ),
        (
            "          MaxAge: 3600\n",
            "          AllowCredentials: true\n",
            "unknown field `AllowCredentials`",
        ),
        (
            "        Arn: !Ref NotifyFunction.Alias\n",
            "        Arn: !GetAtt NotifyFunction.Arn\n",
            "no function or alias",
        ),
        (
            "                Resource: !Ref NotifyFunction.Alias\n",
            "                Resource: !GetAtt NotifyFunction.Arn\n",
            "NotifySchedule: the role may not invoke",
        ),
        ("rate(1 hour)", "rate(1 week)", "ScheduleExpression"),
        (
            "<aws.scheduler.scheduled-time>",
            "<aws.scheduler.attempt-number>",
            "keyword",
        ),
    ];

    #[test]
    fn the_template_is_refused_where_aws_would_refuse_or_fail() {
        assert_eq!(refusal(TEMPLATE), None);
        for (part, broken, reason) in BROKEN {
            assert!(TEMPLATE.contains(part), "{part}");
            let refusal = refusal(&TEMPLATE.replacen(part, broken, 1)).unwrap_or_default();
            assert!(refusal.contains(reason), "{broken}: {refusal:?}");
        }
    }
}
