//! What can be said on the command line.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    commands::{
        self, Misuse, OutputClosed, audit::Audit, dead_letters::DeadLetters, deliveries::Deliveries,
        directory::Directory, explain::Explain, migrate::Migrate, notifications::Notifications,
        publish::Publish, secrets::SecretsCommand, token::Tokens, user::User, words::count,
    },
    config::{self, Config, ConfigFile},
    demo, open, serve,
};

/// The exit code of a command line that makes no sense; the parser's as well.
const MISUSED: u8 = 2;

/// Delivers a container registry's events to the people and systems that asked to hear of them, and loses none.
///
/// Exit codes: 0 done, 1 failed, 2 misused.
#[derive(Debug, Parser)]
#[command(name = "bellbuoy", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run: take events, deliver them, keep history, answer the API.
    Serve(Serve),
    /// Send one event to a running Bellbuoy.
    Publish(Publish),
    Notifications(Box<Notifications>),
    Deliveries(Deliveries),
    DeadLetters(DeadLetters),
    Explain(Explain),
    #[command(name = "token")]
    Tokens(Tokens),
    Directory(Directory),
    User(User),
    Audit(Audit),
    #[command(name = "secrets")]
    Secrets(SecretsCommand),
    /// Look at the settings without running anything.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// What has to stand on RabbitMQ: exchanges, queues, bindings.
    #[command(subcommand)]
    Topology(TopologyCommand),
    Migrate(Migrate),
    /// Exit with 0 if the process that runs by these settings on this machine is ready, else with 1.
    Healthcheck(ConfigArgs),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum TopologyCommand {
    /// Declare what is missing. Repeating it changes nothing; what differs is named and left alone.
    Apply(ConfigArgs),
    /// Say what is missing or different, what stands where nobody takes it, and what this user may not see.
    Check(ConfigArgs),
    /// Publish once more what had no route and was set aside in `bellbuoy.unroutable`.
    Reroute(ConfigArgs),
    /// Print it as RabbitMQ's `definitions.json`.
    Export(ConfigArgs),
}

#[derive(Debug, Clone, Parser)]
pub(crate) struct ConfigArgs {
    /// The configuration file. Without it, only the environment counts.
    #[arg(long, value_name = "FILE", env = "BELLBUOY_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, Parser)]
struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
    /// What this process does: some of api,fanout,deliver,record. Wins over the settings.
    #[arg(long, value_name = "ROLES", value_parser = config::roles_flag)]
    roles: Option<String>,
    /// Which methods the deliver role serves. Wins over the settings.
    #[arg(long, value_name = "METHODS", value_parser = config::methods_flag)]
    methods: Option<String>,
    /// Show what it does: a sample repository, notifications, a receiver and events, in a directory of its own.
    #[arg(long)]
    demo: bool,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether the settings are right; name every mistake if not.
    Check(ConfigArgs),
    /// Print every setting, its value and where that came from. Secrets stay hidden.
    Show(ConfigArgs),
    /// Print an example file with every setting and its default.
    Example,
}

impl Cli {
    pub(crate) fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Serve(args) if args.demo => args.demo(),
            Command::Serve(args) => load_with(&args.config, args.overrides()).and_then(serve::run),
            Command::Publish(args) => commands::publish::run(&args),
            Command::Notifications(args) => commands::notifications::run(&args),
            Command::Deliveries(args) => commands::deliveries::run(&args),
            Command::DeadLetters(args) => commands::dead_letters::run(&args),
            Command::Tokens(args) => commands::token::run(&args),
            Command::Directory(args) => commands::directory::run(&args),
            Command::User(args) => commands::user::run(&args),
            Command::Audit(args) => commands::audit::run(&args),
            Command::Secrets(args) => commands::secrets::run(&args),
            Command::Explain(args) => commands::explain::run(&args),
            Command::Config(ConfigCommand::Check(args)) => load(&args).and_then(|config| check(&config)),
            Command::Config(ConfigCommand::Show(args)) => {
                load(&args).and_then(|config| commands::print(&show(&config)))
            }
            Command::Config(ConfigCommand::Example) => commands::print(config::example().trim_end()),
            Command::Migrate(args) => {
                load(&args.config).and_then(|config| commands::migrate::run(&args, &config))
            }
            Command::Healthcheck(args) => load(&args).and_then(|config| commands::healthcheck::run(&config)),
            Command::Topology(TopologyCommand::Apply(args)) => {
                load(&args).and_then(|config| commands::topology::apply(&config))
            }
            Command::Topology(TopologyCommand::Check(args)) => {
                load(&args).and_then(|config| commands::topology::check(&config))
            }
            Command::Topology(TopologyCommand::Reroute(args)) => {
                load(&args).and_then(|config| commands::topology::reroute(&config))
            }
            Command::Topology(TopologyCommand::Export(args)) => {
                load(&args).and_then(|config| commands::topology::export(&config))
            }
            Command::Completions { shell } => completions(shell),
        };
        result.map_or_else(|error| exit_code(&error), |()| ExitCode::SUCCESS)
    }
}

/// Says what went wrong, in a word for the shell.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<OutputClosed>() {
        return ExitCode::SUCCESS;
    }
    commands::complain(&format!("bellbuoy: {error:#}"));
    if error.is::<Misuse>() { ExitCode::from(MISUSED) } else { ExitCode::FAILURE }
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bellbuoy", &mut script);
    commands::print(String::from_utf8(script)?.trim_end())
}

/// The variables that are ours, `BELLBUOY_CONFIG` and the command line's own aside.
fn environment() -> BTreeMap<String, String> {
    #[expect(clippy::disallowed_methods, reason = "here the environment is read, once, and handed on")]
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("BELLBUOY_") && !commands::VARIABLES.contains(&name.as_str()))
        .collect()
}

impl Serve {
    fn demo(&self) -> anyhow::Result<()> {
        if self.config.config.is_some() || self.overrides().next().is_some() {
            let wrong = "--demo runs by settings of its own: leave out --config (BELLBUOY_CONFIG), --roles and \
                         --methods, and set what has to differ in the environment";
            return Err(Misuse(wrong.to_owned()).into());
        }
        demo::run(&environment())
    }

    // As the environment would say it.
    fn overrides(&self) -> impl Iterator<Item = (String, String)> {
        let flags = [("BELLBUOY_ROLES", self.roles.clone()), ("BELLBUOY_METHODS", self.methods.clone())];
        flags.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)))
    }
}

fn load(args: &ConfigArgs) -> anyhow::Result<Config> {
    load_with(args, std::iter::empty())
}

fn load_with(args: &ConfigArgs, overrides: impl Iterator<Item = (String, String)>) -> anyhow::Result<Config> {
    let file = args.config.as_deref().map(read_config_file).transpose()?;
    let mut environment = environment();
    environment.extend(overrides);
    config::load(file.as_ref(), &environment, |path| std::fs::read_to_string(path)).map_err(|errors| {
        let list: Vec<_> = errors.iter().map(|error| format!("\n  - {error}")).collect();
        anyhow::anyhow!("the settings have {}:{}", count(list.len(), "mistake"), list.concat())
    })
}

fn read_config_file(path: &Path) -> anyhow::Result<ConfigFile> {
    let text = std::fs::read_to_string(path).map_err(|problem| {
        anyhow::anyhow!("can't read the configuration file {}: {problem}", path.display())
    })?;
    Ok(ConfigFile { path: path.display().to_string(), text })
}

fn check(config: &Config) -> anyhow::Result<()> {
    let right = "the settings are right";
    if config.secret_keys.is_empty() {
        return commands::print(&format!("{right}\n{}", open::UNSEALED));
    }
    commands::print(right)
}

fn show(config: &Config) -> String {
    let width = config.settings.iter().map(|setting| setting.key.name.len()).max().unwrap_or(0);
    let lines = config.settings.iter().map(|setting| {
        format!("{:width$}  {}  ({})", setting.key.name, shown_or_dash(&setting.shown), setting.origin)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn shown_or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No narrower than a terminal usually is, so that nothing is wrapped inside a command.
    const COLUMNS: usize = 80;

    #[test]
    fn an_example_in_a_help_is_copied_whole() {
        let cli = Cli::command();
        let examples = cli.get_subcommands().filter_map(|command| command.get_after_help());
        let lines: Vec<_> = examples
            .flat_map(|text| text.to_string().lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        assert!(lines.iter().any(|line| line.contains("bellbuoy notifications create")));
        for line in lines.iter().filter(|line| line.starts_with("  ")) {
            assert!(line.len() <= COLUMNS, "{line}");
        }
    }
}
