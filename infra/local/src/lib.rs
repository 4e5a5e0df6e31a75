//! The whole AWS deployment on one machine, read from `infra/template.yaml`: gateway, functions, table, keys, events.
//!
//! Every function is an OS process of its own that speaks the Lambda Runtime API; nothing is called in-process.

mod authorizer;
mod cargo;
mod clock;
pub mod demo;
mod dynamo;
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
mod template;
mod web;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
pub use dynoxide;
use serde_json::Value;
use tokio::task::JoinSet;

pub use crate::{
    clock::unix_time,
    iam::{Permission, Service},
    logs::LogLine,
    proxy::{Fault, Request, Rule, RuleGuard},
    runtime_api::{InvokeError, RuntimeApi},
};
use crate::{
    dynamo::Dynamo,
    events::{DeadLetters, Mapping},
    function::{Function, Settings},
    gateway::Gateway,
    iam::Permissions,
    issuer::Issuer,
    kms::{Blob, CreateAlias, CreateKey, Kms, ListAliases, Sign},
    logs::Logs,
    proxy::Faults,
    template::{Template, number, text},
    web::Server,
};

/// The `iss` of the keys that a local stack issues; it has to survive restarts, so it names no port.
const KEY_ISSUER: &str = "https://access-keys.local";

/// How a stack is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything is kept; `None` keeps it in memory.
    pub data: Option<PathBuf>,
    /// The gateway's port; 0 takes a free one.
    pub port: u16,
    /// Values for the template's parameters.
    pub parameters: Vec<(String, String)>,
    /// How often expired items are deleted; `None` leaves it to [`Stack::sweep_ttl`].
    pub ttl_sweep: Option<Duration>,
    /// How many invocations of one function run at once.
    pub processes_per_function: usize,
    /// Whether the stage's throttling limits hold.
    pub throttling: bool,
    /// Whether what the functions log goes to stderr too.
    pub verbose: bool,
    /// The claims of the users whom the issuer's sign-in page offers.
    pub people: Vec<Value>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: None,
            port: 0,
            parameters: Vec::new(),
            ttl_sweep: None,
            processes_per_function: 4,
            throttling: false,
            verbose: false,
            people: Vec::new(),
        }
    }
}

/// A running stack. Dropping it ends it; [`Stack::stop`] also waits for the end.
pub struct Stack {
    // Fields drop in declaration order, so the gateway ends first.
    gateway: Server,
    tasks: JoinSet<()>,
    functions: BTreeMap<String, Arc<Function>>,
    mappings: Vec<Arc<Mapping>>,
    _proxies: [Server; 2],
    kms_server: Server,
    dynamo: Dynamo,
    kms: Arc<Kms>,
    issuer: Issuer,
    faults: Faults,
    permissions: Permissions,
    logs: Logs,
    dead_letters: DeadLetters,
    audience: String,
    signing_key: String,
    _lock: Option<File>,
}

impl Stack {
    /// Builds the functions and starts everything. Returns when every function waits for its first invocation.
    pub async fn start(options: Options) -> Result<Self> {
        let data = options.data.as_deref();
        let lock = data.map(lock_directory).transpose()?;
        // Before anything slow, so that a wrong option or a port in use is reported immediately.
        let listener = web::bind(options.port).await?;
        let issuer_listener = web::bind(0).await?;
        let mut template = read_template(&web::url(&issuer_listener)?, &options.parameters)?;
        let console = console_client(&template, web::url(&listener)?, &options.people);
        let audience = console.audience.clone();
        let issuer = Issuer::start(data, issuer_listener, console).await?;
        let bin_directory = cargo::build().await?;

        let dynamo = start_table(&mut template, data).await?;
        let kms = Kms::open(data)?;
        let signing_key = create_keys(&mut template, &kms).await?;
        template.check()?;

        let kms_server = kms.serve().await?;
        let (faults, permissions) = (Faults::default(), Permissions::read(&template)?);
        let proxies = start_proxies(&faults, &dynamo, &kms_server, &permissions).await?;
        let logs = Logs::new(options.verbose);
        let functions = functions(&template, &bin_directory, &proxies, &logs, &options)?;
        let gateway = Gateway::new(&template, options.throttling, |reference| {
            find_function(&functions, reference)
        })?;
        let dead_letters = DeadLetters::default();
        let mappings = mappings(
            &template,
            &functions,
            &dynamo,
            data,
            &dead_letters,
            &permissions,
        )?;

        start_functions(&functions).await?;
        let tasks = spawn_tasks(&mappings, &dynamo, options.ttl_sweep);
        let gateway = web::serve(listener, gateway.into_router())?;
        Ok(Self {
            gateway,
            tasks,
            functions,
            mappings,
            _proxies: proxies,
            kms_server,
            dynamo,
            kms,
            issuer,
            faults,
            permissions,
            logs,
            dead_letters,
            audience,
            signing_key,
            _lock: lock,
        })
    }

    /// The gateway's base URL.
    pub fn url(&self) -> &str {
        &self.gateway.url
    }

    /// The OIDC issuer's URL.
    pub fn issuer(&self) -> &str {
        &self.issuer.server.url
    }

    /// A token of the issuer with these claims; `iss`, `aud`, `iat` and `exp` are added where they are absent.
    pub fn token(&self, claims: Value) -> String {
        self.issuer.token(&self.audience, claims)
    }

    /// The database itself, past DynamoDB's protocol and the proxy.
    pub fn database(&self) -> &dynoxide::Database {
        &self.dynamo.database
    }

    /// The table's name.
    pub fn table(&self) -> &str {
        &self.dynamo.table
    }

    /// DynamoDB itself, not through the proxy.
    pub fn dynamodb_endpoint(&self) -> &str {
        &self.dynamo.url
    }

    /// KMS itself, not through the proxy.
    pub fn kms_endpoint(&self) -> &str {
        &self.kms_server.url
    }

    /// The ARN of the template's key.
    pub fn signing_key(&self) -> &str {
        &self.signing_key
    }

    /// Creates another KMS key and returns its ARN.
    pub async fn create_key(&self, spec: &str) -> Result<String> {
        let (kms, request) = (self.kms.clone(), CreateKey::to_sign(spec, ""));
        let created = tokio::task::spawn_blocking(move || kms.create_key(request)).await;
        let created = created.context("KMS ended")??;
        Ok(created.key_metadata.arn)
    }

    /// Signs `message` with a KMS key and the algorithm of the key. An ECDSA signature is DER.
    pub async fn sign(&self, key_arn: &str, message: &[u8]) -> Result<Vec<u8>> {
        let key = self.kms.describe_key(key_arn.into())?;
        let [algorithm] = key.key_metadata.signing_algorithms;
        let signature = self.kms.sign(Sign {
            key_id: key_arn.to_owned(),
            message: Blob(message.to_vec()),
            message_type: "RAW".to_owned(),
            signing_algorithm: algorithm.to_owned(),
        })?;
        Ok(signature.signature.0)
    }

    /// Puts a rule in force, behind those that are, until the result is dropped.
    pub fn inject(&self, rule: Rule) -> RuleGuard {
        self.faults.add(rule)
    }

    /// What the role of a function, named by its binary, allows in DynamoDB, its stream, KMS and SQS.
    pub fn allowed_permissions(&self, function: &str) -> BTreeSet<Permission> {
        self.permissions.allowed(function)
    }

    /// What a function, named by its binary, has made use of.
    pub fn used_permissions(&self, function: &str) -> BTreeSet<Permission> {
        self.permissions.used(function)
    }

    /// The functions, by the names of their binaries.
    pub fn function_names(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }

    /// The latest requests that the functions sent to DynamoDB and KMS, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.faults.requests()
    }

    /// How many of the latest requests match.
    pub fn count(&self, matches: impl Fn(&Request) -> bool) -> usize {
        self.faults.count(matches)
    }

    /// The latest lines that the functions wrote, oldest first.
    pub fn logs(&self) -> Vec<LogLine> {
        self.logs.all()
    }

    /// Deletes the expired items, as DynamoDB does when it gets to it, and says how many.
    pub fn sweep_ttl(&self) -> Result<usize> {
        let swept = self
            .dynamo
            .database
            .sweep_ttl()
            .context("cannot delete what has expired")?;
        self.mappings.iter().for_each(|mapping| mapping.wake());
        Ok(swept)
    }

    /// Resolves when everything that is in the table's stream now has been processed.
    pub async fn drain_events(&self) {
        for mapping in &self.mappings {
            mapping.drain().await;
        }
    }

    /// The batches of events that were given up, in the shape in which Lambda sends them to a queue.
    pub fn dead_letters(&self) -> Vec<Value> {
        self.dead_letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Invokes a function, by its binary's name, as `aws lambda invoke` would.
    pub async fn invoke(&self, function: &str, event: Value) -> Result<Value, InvokeError> {
        match self.functions.get(function) {
            Some(function) => function.invoke(event).await,
            None => Err(InvokeError::Function {
                error_type: "ResourceNotFoundException".to_owned(),
                message: format!("Function not found: {function}"),
            }),
        }
    }

    /// The environment of a function's processes, for one that is started elsewhere; `AWS_LAMBDA_RUNTIME_API` is for
    /// who starts it to add.
    pub fn environment(&self, function: &str) -> Vec<(String, String)> {
        self.functions
            .get(function)
            .map(|function| function.environment())
            .unwrap_or_default()
    }

    /// The processes that a function, named by its binary, has now.
    pub fn process_ids(&self, function: &str) -> Vec<u32> {
        self.functions
            .get(function)
            .map(|function| function.process_ids())
            .unwrap_or_default()
    }

    /// Ends everything and waits until every process is gone and the database is closed.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        let mut stopping = JoinSet::new();
        for function in self.functions.values() {
            let function = function.clone();
            stopping.spawn(async move { function.stop().await });
        }
        stopping.join_all().await;
        self.dynamo.stop().await;
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.functions.values().for_each(|function| function.kill());
    }
}

/// Makes the data directory and keeps other stacks out of it.
fn lock_directory(data: &Path) -> Result<File> {
    let cannot = || format!("cannot use {}", data.display());
    std::fs::create_dir_all(data).with_context(cannot)?;
    let lock = File::create(data.join("lock")).with_context(cannot)?;
    lock.try_lock()
        .with_context(|| format!("{}: does another stack run on it?", cannot()))?;
    Ok(lock)
}

/// Reads the template of the AWS deployment. `overrides` win over the parameters that the stack itself sets.
fn read_template(issuer_url: &str, overrides: &[(String, String)]) -> Result<Template> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let yaml = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let mut parameters = vec![
        ("OidcIssuer".to_owned(), issuer_url.to_owned()),
        ("KeyIssuer".to_owned(), KEY_ISSUER.to_owned()),
    ];
    parameters.extend(overrides.iter().cloned());
    Template::parse(&yaml, &parameters)
}

/// The console as a client of the issuer. `people` are the users who may sign in to it.
fn console_client(template: &Template, origin: String, people: &[Value]) -> issuer::Client {
    let parameter = |name: &str| template.parameter(name).unwrap_or_default().to_owned();
    issuer::Client {
        id: parameter("ConsoleClientId"),
        origin,
        audience: parameter("OidcAudience"),
        people: people.to_vec(),
    }
}

/// Opens the database with the template's one table, and tells the template the ARN of the table's stream.
async fn start_table(template: &mut Template, data: Option<&Path>) -> Result<Dynamo> {
    let tables = template.of_type("AWS::DynamoDB::Table")?;
    let [table] = tables.as_slice() else {
        bail!(
            "the local stack runs one table, the template has {}",
            tables.len()
        );
    };
    let name = template
        .attribute(&table.id, "Ref")
        .and_then(text)
        .unwrap_or_default();
    let dynamo = dynamo::start(data, table, &name).await?;
    if let Some(stream) = &dynamo.stream {
        template.set(&table.id, "StreamArn", dynamo::public_arn(stream));
    }
    Ok(dynamo)
}

/// Creates the template's keys and aliases that do not exist yet. Returns the ARN of the first key.
async fn create_keys(template: &mut Template, kms: &Arc<Kms>) -> Result<String> {
    let mut first = None;
    for key in template.of_type("AWS::KMS::Key")? {
        let property = |name: &str| key.properties[name].as_str().unwrap_or_default();
        let request = CreateKey::to_sign(property("KeySpec"), property("Description"));
        let (kms, id) = (kms.clone(), key.id.clone());
        let created = tokio::task::spawn_blocking(move || kms.template_key(&id, request)).await;
        let arn = created
            .context("KMS ended")?
            .with_context(|| format!("cannot create the key {}", key.id))?;
        template.set(&key.id, "Ref", arn.rsplit('/').next().unwrap_or_default());
        template.set(&key.id, "Arn", arn.as_str());
        first.get_or_insert(arn);
    }
    for alias in template.of_type("AWS::KMS::Alias")? {
        let property = |name: &str| text(&alias.properties[name]).unwrap_or_default();
        let (alias_name, target_key_id) = (property("AliasName"), property("TargetKeyId"));
        let existing = kms.list_aliases(ListAliases {
            key_id: Some(target_key_id.clone()),
        })?;
        let mut existing = existing.aliases.iter();
        if !existing.any(|alias| alias.alias_name == alias_name) {
            kms.create_alias(CreateAlias {
                alias_name,
                target_key_id,
            })?;
        }
    }
    first.context("the template has no KMS key")
}

/// Puts a proxy in front of DynamoDB and one in front of KMS, in this order.
async fn start_proxies(
    faults: &Faults,
    dynamo: &Dynamo,
    kms_server: &Server,
    permissions: &Permissions,
) -> Result<[Server; 2]> {
    let dynamodb = faults
        .serve(Service::DynamoDb, &dynamo.url, permissions)
        .await?;
    let kms = faults
        .serve(Service::Kms, &kms_server.url, permissions)
        .await?;
    Ok([dynamodb, kms])
}

/// The template's functions by the names of their binaries.
fn functions(
    template: &Template,
    bin_directory: &Path,
    [dynamodb, kms]: &[Server; 2],
    logs: &Logs,
    options: &Options,
) -> Result<BTreeMap<String, Arc<Function>>> {
    let mut functions = BTreeMap::new();
    for resource in template.of_type("AWS::Serverless::Function")? {
        let (id, properties) = (&resource.id, &resource.properties);
        if !properties["Events"].is_null() {
            bail!("{id}: the local stack reads routes and event sources, not Events");
        }
        let name = resource.metadata["BuildProperties"]["Binary"].as_str();
        let name =
            name.ok_or_else(|| anyhow!("{id}: Metadata.BuildProperties.Binary is missing"))?;
        let variables = properties["Environment"]["Variables"].as_object();
        let mut environment: Vec<_> = variables
            .into_iter()
            .flatten()
            .map(|(name, value)| {
                let value = text(value);
                let value = value.ok_or_else(|| anyhow!("{id}: the variable {name} is no text"));
                Ok((name.clone(), value?))
            })
            .collect::<Result<_>>()?;
        environment.push(("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), dynamodb.url.clone()));
        environment.push(("AWS_ENDPOINT_URL_KMS".to_owned(), kms.url.clone()));
        let settings = Settings {
            name: name.to_owned(),
            function_name: template
                .attribute(id, "Ref")
                .and_then(text)
                .unwrap_or_default(),
            arn: template
                .attribute(id, "Arn")
                .and_then(text)
                .unwrap_or_default(),
            executable: bin_directory.join(name),
            // Lambda's own defaults.
            timeout: Duration::from_secs(number(&properties["Timeout"]).unwrap_or(3)),
            memory: number(&properties["MemorySize"]).unwrap_or(128),
            environment,
            processes: options.processes_per_function,
        };
        functions.insert(name.to_owned(), Function::new(settings, logs.clone()));
    }
    Ok(functions)
}

/// Finds a function by its name in AWS or its ARN.
fn find_function(
    functions: &BTreeMap<String, Arc<Function>>,
    reference: &str,
) -> Result<Arc<Function>> {
    functions
        .values()
        .find(|function| function.is(reference))
        .cloned()
        .ok_or_else(|| anyhow!("the template has no function {reference}"))
}

/// The template's event source mappings.
fn mappings(
    template: &Template,
    functions: &BTreeMap<String, Arc<Function>>,
    dynamo: &Dynamo,
    data: Option<&Path>,
    dead_letters: &DeadLetters,
    permissions: &Permissions,
) -> Result<Vec<Arc<Mapping>>> {
    let mut mappings = Vec::new();
    for resource in template.of_type("AWS::Lambda::EventSourceMapping")? {
        let name = resource.properties["FunctionName"].as_str();
        let function = find_function(functions, name.unwrap_or_default())?;
        mappings.push(Mapping::new(
            &resource,
            dynamo,
            function,
            data,
            dead_letters,
            permissions,
        )?);
    }
    Ok(mappings)
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

/// Spawns the pollers of the mappings and, if there is an interval for it, the deletion of expired items.
fn spawn_tasks(
    mappings: &[Arc<Mapping>],
    dynamo: &Dynamo,
    ttl_sweep: Option<Duration>,
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
    if let Some(interval) = ttl_sweep {
        let (database, mappings) = (dynamo.database.clone(), mappings.to_vec());
        tasks.spawn(async move { sweep_for_ever(interval, database, mappings).await });
    }
    tasks
}

async fn sweep_for_ever(
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
            Ok(Err(error)) => eprintln!("cannot delete what has expired: {error}"),
            Err(_) => return,
        }
    }
}
