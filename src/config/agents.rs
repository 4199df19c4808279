//! The `[[agents]]` of the file: programs that do jobs.

use std::collections::BTreeMap;

use secrecy::SecretString;
use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::document::{Document, Section};
use super::raw::{Raw, quoted};
use super::report::Source;
use super::resolve::{Resolver, shown_list, shown_text};
use super::values::AgentConfig;
use crate::wire::agent_ref::AgentRef;

/// Reads every `[[agents]]`.
pub(super) fn resolve(resolver: &mut Resolver<'_>) -> Vec<AgentConfig> {
    let Some(document) = resolver.document else {
        resolver.show("agents", "[]".into(), Source::Default);
        return Vec::new();
    };
    let sections = document.entries("agents", &mut resolver.errors);
    if sections.is_empty() {
        resolver.show("agents", "[]".into(), Source::Default);
    }
    let mut agents: Vec<AgentConfig> = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let label = format!("agents[{index}]");
        document.unknown_in("agents[]", &label, section.table, &mut resolver.errors);
        let mut reader = Reader { resolver: &mut *resolver, document, section, label };
        let Some(agent) = reader.agent() else { continue };
        let problem = agents.iter().find_map(|other| clash(other, &agent));
        match problem {
            Some(problem) => reader.refuse(problem),
            None => agents.push(agent),
        }
    }
    agents
}

/// Why two agents cannot both be there.
fn clash(one: &AgentConfig, other: &AgentConfig) -> Option<String> {
    if one.agent == other.agent {
        return Some(format!("the agent {} is there twice", other.agent));
    }
    let both = one.agent.name == other.agent.name && one.default && other.default;
    both.then(|| {
        format!("{} and {} cannot both be the default of {}", one.agent, other.agent, one.agent.name)
    })
}

/// Reads one entry.
struct Reader<'r, 'a, 'd> {
    resolver: &'r mut Resolver<'a>,
    document: &'d Document<'d>,
    section: &'d Section<'d>,
    label: String,
}

impl<'d> Reader<'_, '_, 'd> {
    fn agent(&mut self) -> Option<AgentConfig> {
        let before = self.resolver.errors.len();
        let name = self.field("name", |raw| raw.text("a text like \"report\""));
        let version = self.field("version", |raw| raw.text("a text like \"1.0.0\""));
        let command = self.field("command", |raw| raw.texts());
        let base = self.document.base();
        let dir = self.field("dir", |raw| raw.path(base)).unwrap_or_else(|| base.to_path_buf());
        let env = self.field("env", variables).unwrap_or_default();
        let pass_env = self.field("pass_env", names_of_variables).unwrap_or_default();
        let default = self.field("default", |raw| raw.boolean()).unwrap_or(false);
        let restartable = self.field("restartable", |raw| raw.boolean()).unwrap_or(false);
        if let Some(twice) = pass_env.iter().find(|name| env.contains_key(*name)) {
            self.refuse(format!("{twice:?} is in env and in pass_env; it can have one value"));
        }
        for (key, missing) in
            [("name", name.is_none()), ("version", version.is_none()), ("command", command.is_none())]
        {
            if missing && !self.section.table.contains_key(key) {
                self.refuse(format!("{key} is missing"));
            }
        }
        let (name, version, command) = (name?, version?, command?);
        let agent = match format!("{name}@{version}").parse::<AgentRef>() {
            Ok(agent) => Some(agent),
            Err(error) => {
                self.refuse(error.to_string());
                None
            }
        };
        let Some((program, arguments)) = command.split_first().filter(|(program, _)| !program.is_empty())
        else {
            self.refuse("command: expected a program and its arguments, got none".into());
            return None;
        };
        let agent = AgentConfig {
            agent: agent?,
            program: (*program).to_owned(),
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            dir,
            env,
            pass_env,
            default,
            restartable,
        };
        self.show(&agent);
        (self.resolver.errors.len() == before).then_some(agent)
    }

    fn field<T>(&mut self, name: &str, read: impl FnOnce(Raw<'d>) -> Result<T, String>) -> Option<T> {
        let value: &'d Spanned<DeValue<'d>> = self.section.table.get(name)?;
        match read(Raw::Toml(value.get_ref())) {
            Ok(read) => Some(read),
            Err(problem) => {
                let place = self.document.place(value);
                self.resolver.refuse(place, &format!("{}.{name}", self.label), problem);
                None
            }
        }
    }

    fn refuse(&mut self, problem: String) {
        self.resolver.refuse(self.section.place.clone(), &self.label, problem);
    }

    fn show(&mut self, agent: &AgentConfig) {
        let AgentRef { name, version } = &agent.agent;
        let command = std::iter::once(&agent.program).chain(&agent.arguments);
        let env: Vec<String> =
            agent.env.keys().map(|name| format!("{} = (hidden)", shown_text(name))).collect();
        let values = [
            ("name", shown_text(name)),
            ("version", shown_text(version.as_deref().unwrap_or_default())),
            ("command", shown_list(command)),
            ("dir", shown_text(&agent.dir.display().to_string())),
            ("env", format!("{{{}}}", env.join(", "))),
            ("pass_env", shown_list(&agent.pass_env)),
            ("default", agent.default.to_string()),
            ("restartable", agent.restartable.to_string()),
        ];
        for (key, value) in values {
            let source =
                self.section.table.get(key).map_or(Source::Default, |value| self.document.place(value));
            self.resolver.show(&format!("{}.{key}", self.label), value, source);
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// Reads the table of variables. Their values may be secrets and are not repeated in errors.
fn variables(raw: Raw<'_>) -> Result<BTreeMap<String, SecretString>, String> {
    let Raw::Toml(DeValue::Table(table)) = raw else {
        return Err(format!("expected a table like {{ NAME = \"value\" }}, got {}", raw.got()));
    };
    let one = |(name, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
        let name = name.get_ref().as_ref();
        if !is_variable(name) {
            return Err(format!("{} is no name of a variable", quoted(name)));
        }
        match value.get_ref().as_str() {
            Some(text) if !text.contains('\0') => Ok((name.to_owned(), SecretString::from(text))),
            _ => Err(format!("{}: expected a text, got {}", quoted(name), Raw::kind(value.get_ref()))),
        }
    };
    table.iter().map(one).collect()
}

fn names_of_variables(raw: Raw<'_>) -> Result<Vec<String>, String> {
    let one = |name: &str| {
        if is_variable(name) {
            Ok(name.to_owned())
        } else {
            Err(format!("{} is no name of a variable", quoted(name)))
        }
    };
    raw.texts()?.into_iter().map(one).collect()
}
