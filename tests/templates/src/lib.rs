//! The deployment's templates: `template.yaml` and the templates of its nested stacks, merged.
//!
//! A tag is an object with one field: `!Ref X` is `{"!Ref": "X"}`. In the merged resources, a
//! parameter of a stack is replaced by the resource that the parent passes, and an output by its
//! value, so that a check does not depend on how resources are divided into stacks. What a condition
//! chooses between a restored resource and the stack's own is the stack's own.

#![expect(clippy::indexing_slicing, reason = "indexing a JSON value returns null if absent")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::map::Entry;
use serde_json::{Map, Value};

/// Path of the root template in the repository.
pub const ROOT: &str = "template.yaml";
/// Path of the template of a queue. Its instances are not merged but stay resources.
pub const QUEUE: &str = "infra/stacks/queue.yaml";
/// Path of the template of a table. Its instances are not merged but stay resources.
pub const TABLE: &str = "infra/stacks/table.yaml";

/// End of the names of conditions under which a stack uses an existing resource, such as a restored
/// table, instead of its own.
const RESTORED: &str = "Restored";

const FUNCTION: &str = "AWS::Serverless::Function";
const STACK: &str = "AWS::CloudFormation::Stack";

/// The templates of the repository.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    /// Each template by its path in the repository, as it is written.
    pub stacks: BTreeMap<String, Value>,
    /// The resources of all stacks by logical id, without parameters. A function has the properties
    /// of its stack's `Globals`.
    pub resources: Map<String, Value>,
}

/// A route of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// HTTP method.
    pub method: String,
    /// Path with parameters in braces.
    pub path: String,
    /// Whether it needs no API key.
    pub is_open: bool,
}

impl Templates {
    /// Reads the templates of this repository.
    ///
    /// # Errors
    /// If a template is not valid, if stacks need each other's outputs, or if two stacks have a
    /// resource of the same name.
    pub fn read() -> Result<Self, String> {
        let mut templates = Self::default();
        templates.merge(ROOT, &Map::new())?;
        Ok(templates)
    }

    /// Returns the logical ids and properties of all resources of a type.
    pub fn of_type(&self, kind: &str) -> impl Iterator<Item = (&str, &Value)> {
        let matching = self.resources.iter().filter(move |(_, resource)| resource["Type"] == kind);
        matching.map(|(name, resource)| (name.as_str(), &resource["Properties"]))
    }

    /// Returns the logical ids and properties of all functions.
    pub fn functions(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.of_type(FUNCTION)
    }

    /// Returns the logical ids and parameters of all queues.
    pub fn queues(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.instances(QUEUE).map(|(name, properties)| (name, &properties["Parameters"]))
    }

    /// Returns the logical ids of all tables.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.instances(TABLE).map(|(name, _)| name)
    }

    /// Returns the instances of a template that are not merged.
    fn instances(&self, template: &str) -> impl Iterator<Item = (&str, &Value)> {
        let file = template.rsplit('/').next().unwrap_or_default();
        self.of_type(STACK).filter(move |(_, properties)| {
            let url = properties["TemplateURL"].as_str().unwrap_or_default();
            url.rsplit('/').next() == Some(file)
        })
    }

    /// Returns the routes of a function, by its logical id.
    #[must_use]
    pub fn routes(&self, function: &str) -> Vec<Route> {
        let routes = self.of_type("AWS::ApiGatewayV2::Route").filter_map(|(_, route)| {
            let target = route["Target"]["!Sub"].as_str()?;
            let integration = target.strip_prefix("integrations/${")?.strip_suffix('}')?;
            let integration = &self.resources.get(integration)?["Properties"];
            let uri = integration["IntegrationUri"]["!GetAtt"].as_str()?;
            let (method, path) = route["RouteKey"].as_str()?.split_once(' ')?;
            (uri.strip_suffix(".Arn") == Some(function)).then(|| Route {
                method: method.to_owned(),
                path: path.to_owned(),
                is_open: route["AuthorizationType"] == "NONE",
            })
        });
        routes.collect()
    }

    /// Adds the resources of a template and its nested stacks. Returns its outputs.
    fn merge(&mut self, path: &str, parameters: &Map<String, Value>) -> Result<Outputs, String> {
        let template = load(path)?;
        self.stacks.insert(path.to_owned(), template.clone());
        let resources = template["Resources"].as_object().ok_or(format!("{path}: no resources"))?;
        let mut scope = Scope { parameters, outputs: BTreeMap::new() };
        let mut pending: Vec<(&str, String, &Value)> = Vec::new();
        for (name, resource) in resources {
            if resource["Type"] != STACK {
                continue;
            }
            let child =
                beside(path, resource["Properties"]["TemplateURL"].as_str().unwrap_or_default());
            if [QUEUE, TABLE].contains(&child.as_str()) {
                let template = load(&child)?;
                self.stacks.insert(child, template);
            } else {
                pending.push((name.as_str(), child, &resource["Properties"]["Parameters"]));
            }
        }
        let nested: Vec<&str> = pending.iter().map(|(name, ..)| *name).collect();
        // A stack is merged after those whose outputs it needs.
        while !pending.is_empty() {
            let known = &scope.outputs;
            let ready = pending.iter().position(|(.., values)| {
                nested.iter().all(|name| known.contains_key(*name) || !needs(values, name))
            });
            let Some(ready) = ready else {
                let names: Vec<&str> = pending.iter().map(|(name, ..)| *name).collect();
                return Err(format!("{path}: these stacks need each other: {}", names.join(", ")));
            };
            let (name, child, values) = pending.remove(ready);
            let values = scope.resolved(values);
            let passed = values.as_object().cloned().unwrap_or_default();
            let outputs = self.merge(&child, &passed)?;
            scope.outputs.insert(name.to_owned(), outputs);
        }
        for (name, resource) in
            resources.iter().filter(|(name, _)| !nested.contains(&name.as_str()))
        {
            let mut resource = resource.clone();
            if resource["Type"] == FUNCTION {
                inherit(&mut resource["Properties"], &template["Globals"]["Function"]);
            }
            if self.resources.insert(name.clone(), scope.resolved(&resource)).is_some() {
                return Err(format!("{path}: another stack has a resource {name}, too"));
            }
        }
        let outputs = template["Outputs"].as_object().into_iter().flatten();
        Ok(outputs.map(|(name, output)| (name.clone(), scope.resolved(&output["Value"]))).collect())
    }
}

/// Outputs of a stack by name.
type Outputs = BTreeMap<String, Value>;

/// What references in a template mean.
struct Scope<'a> {
    parameters: &'a Map<String, Value>,
    /// Outputs of the nested stacks by their logical ids.
    outputs: BTreeMap<String, Outputs>,
}

impl Scope<'_> {
    /// Replaces parameters and outputs in a value.
    fn resolved(&self, value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(|item| self.resolved(item)).collect(),
            Value::Object(fields) => {
                if let Some(own) = own(value) {
                    return self.resolved(own);
                }
                let found = if let Some(name) = value["!Ref"].as_str() {
                    self.parameter(name).cloned()
                } else if let Some(name) = value["!GetAtt"].as_str() {
                    self.output(name).cloned()
                } else {
                    value["!Sub"].as_str().map(|text| self.substituted(text))
                };
                found.unwrap_or_else(|| {
                    fields
                        .iter()
                        .map(|(name, field)| (name.clone(), self.resolved(field)))
                        .collect()
                })
            }
            other => other.clone(),
        }
    }

    /// Returns the value of a parameter, if it is text or names a resource. A parameter with any
    /// other value, such as a condition, stays a parameter.
    fn parameter(&self, name: &str) -> Option<&Value> {
        let value = self.parameters.get(name)?;
        let is_reference = ["!Ref", "!GetAtt", "!Sub"]
            .iter()
            .any(|tag| value.get(*tag).is_some_and(Value::is_string));
        (value.is_string() || is_reference).then_some(value)
    }

    fn output(&self, name: &str) -> Option<&Value> {
        let (stack, output) = name.split_once(".Outputs.")?;
        self.outputs.get(stack)?.get(output)
    }

    /// Replaces the parameters in the text of `!Sub`.
    fn substituted(&self, text: &str) -> Value {
        let mut replaced = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else { break };
            replaced.push_str(before);
            match self.parameter(name) {
                Some(Value::String(value)) => replaced.push_str(value),
                Some(value) if value["!Sub"].is_string() => {
                    replaced.push_str(value["!Sub"].as_str().unwrap_or_default());
                }
                other => {
                    let value = other
                        .and_then(|value| value["!Ref"].as_str().or(value["!GetAtt"].as_str()));
                    replaced.extend(["${", value.unwrap_or(name), "}"]);
                }
            }
            rest = after;
        }
        replaced.push_str(rest);
        if replaced.contains("${") {
            Map::from_iter([("!Sub".to_owned(), replaced.into())]).into()
        } else {
            replaced.into()
        }
    }
}

/// Returns what a stack uses if nothing is restored, of a value that depends on that.
fn own(value: &Value) -> Option<&Value> {
    let choice = value["!If"].as_array()?;
    let is_restored = choice.first()?.as_str()?.ends_with(RESTORED);
    choice.get(2).filter(|_| is_restored)
}

/// Whether a value contains an output of the stack `name`.
fn needs(value: &Value, name: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| needs(item, name)),
        Value::Object(fields) => fields.iter().any(|(tag, field)| {
            let output = field.as_str().and_then(|text| text.split_once(".Outputs."));
            tag == "!GetAtt" && output.is_some_and(|(stack, _)| stack == name) || needs(field, name)
        }),
        _ => false,
    }
}

/// Adds the fields of `defaults` that `properties` does not have.
fn inherit(properties: &mut Value, defaults: &Value) {
    if let (Some(properties), Some(defaults)) = (properties.as_object_mut(), defaults.as_object()) {
        for (name, default) in defaults {
            match properties.entry(name) {
                Entry::Occupied(mut value) => inherit(value.get_mut(), default),
                Entry::Vacant(value) => {
                    value.insert(default.clone());
                }
            }
        }
    }
}

/// Whether IAM's `StringLike` matches a text with a pattern that has no `?`.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| matches(after, rest.get(at..).unwrap_or_default()))
        }),
    }
}

/// Returns the path of a template that the template at `path` names.
fn beside(path: &str, name: &str) -> String {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    folder.join(name).to_string_lossy().into_owned()
}

/// Reads a template of the repository.
fn load(path: &str) -> Result<Value, String> {
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    let text = fs::read_to_string(file).map_err(|error| format!("{path}: {error}"))?;
    parse(&text).map_err(|error| format!("{path}: {error}"))
}

/// Parses a template, or a part of one.
///
/// # Errors
/// If the text is empty, or not YAML in a form that templates have.
pub fn parse(text: &str) -> Result<Value, String> {
    let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
    json(documents.first().ok_or("the text is empty")?)
}

/// Converts a YAML node to JSON.
fn json(yaml: &Yaml<'_>) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::Value(Scalar::String(text)) => text.as_ref().into(),
        Yaml::Value(Scalar::Integer(number)) => (*number).into(),
        Yaml::Value(Scalar::FloatingPoint(number)) => number.into_inner().into(),
        Yaml::Value(Scalar::Boolean(flag)) => (*flag).into(),
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Sequence(items) => items.iter().map(json).collect::<Result<_, _>>()?,
        Yaml::Mapping(fields) => {
            let fields = fields.iter().map(|(name, value)| {
                Ok((json(name)?.as_str().unwrap_or_default().to_owned(), json(value)?))
            });
            fields.collect::<Result<Map<_, _>, String>>()?.into()
        }
        Yaml::Tagged(tag, inner) => {
            Map::from_iter([(format!("!{}", tag.suffix), json(inner)?)]).into()
        }
        other => return Err(format!("unsupported YAML: {other:?}")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_stacks_are_merged_without_their_parameters() {
        let templates = Templates::read().unwrap();
        let function = &templates.resources["WebhookTwilioVoice"]["Properties"];
        assert_eq!(
            function["FunctionName"],
            json!({"!Sub": "${AWS::StackName}-webhook-twilio-voice"})
        );
        assert_eq!(function["Timeout"], 10);
        let variables = &function["Environment"]["Variables"];
        // From the globals, through the root from another stack, and text with a parameter in it.
        let table = json!({"!GetAtt": "AccountsTable.Outputs.Name"});
        assert_eq!(variables["ACCOUNTS_TABLE_NAME"], table);
        assert_eq!(variables["INBOUND_QUEUE_URL"], json!({"!GetAtt": "InboundQueue.Outputs.Url"}));
        assert_eq!(variables["SECRETS_PREFIX"], json!({"!Sub": "switchboard/${AWS::StackName}"}));
        // The root chooses this value by a condition.
        assert_eq!(variables["PUBLIC_BASE_URL"], json!({"!Ref": "PublicBaseUrl"}));
        let routes = templates.routes("ApiVoice");
        let (method, path) = ("POST".to_owned(), "/voice/token".to_owned());
        assert_eq!(routes, [Route { method, path, is_open: false }]);
    }

    #[test]
    fn stacks_that_need_each_other_are_found() {
        let values = json!({"Url": {"!If": ["A", {"!GetAtt": "Edge.Outputs.Url"}, ""]}});
        assert!(needs(&values, "Edge"));
        assert!(!needs(&values, "Core"));
    }

    #[test]
    fn a_stack_has_its_own_resources_unless_others_are_restored() {
        let chosen =
            json!({"!If": ["IsBucketRestored", {"!Ref": "BucketRestored"}, {"!Ref": "Bucket"}]});
        assert_eq!(own(&chosen), Some(&json!({"!Ref": "Bucket"})));
        assert_eq!(own(&json!({"!If": ["HasDomain", "a", "b"]})), None);
        let templates = Templates::read().unwrap();
        let variables = &templates.resources["ConsumerInbound"]["Properties"]["Environment"];
        assert_eq!(variables["Variables"]["BUCKET_NAME"], json!({"!Ref": "Bucket"}));
    }

    #[test]
    fn text_keeps_references_to_resources() {
        let parameters = json!({"Arn": {"!GetAtt": "Bucket.Arn"}, "Name": "a", "Url": {"!If": []}});
        let scope = Scope { parameters: parameters.as_object().unwrap(), outputs: BTreeMap::new() };
        let resolved = |text: &str| scope.substituted(text);
        assert_eq!(resolved("${Arn}/${Name}/*"), json!({"!Sub": "${Bucket.Arn}/a/*"}));
        assert_eq!(resolved("${Name}"), json!("a"));
        assert_eq!(resolved("${Url}${AWS::Region}"), json!({"!Sub": "${Url}${AWS::Region}"}));
    }
}
