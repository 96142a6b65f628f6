//! From `webhook/webhook.yaml` to `webhooks.yaml`.
//!
//! Keptn looks for each subscription in the service, the stage and the project; Pilothouse reads the nearest file only. So a
//! translated file also has what Keptn would have found farther away.

use std::collections::BTreeMap;

use super::curl::{self, Call};
use super::emit::{Yaml, write};
use super::layout::{Placed, Plan};
use super::note::NoteSeverity;
use super::value::Masked;
use super::webhooks_file::{V1Request, Webhook, read};
use super::{Session, V1_WEBHOOKS, WEBHOOKS_FILE, connections, listed, put, put_new, request};
use crate::keptn::{TaskEventKind, is_keptn_type, parse_task_event};
use crate::resource::Folder;

/// What becomes of the webhooks of one file.
#[derive(Default)]
struct Translated {
    tasks: BTreeMap<String, Yaml>,
    events: Vec<Yaml>,
}

impl Translated {
    fn count(&self) -> usize {
        self.tasks.len() + self.events.len()
    }

    fn write(self) -> String {
        let mut members =
            vec![("apiVersion".to_owned(), "pilothouse.dev/v1".into()), ("kind".to_owned(), "Webhooks".into())];
        if !self.tasks.is_empty() {
            members.push(("tasks".to_owned(), Yaml::Map(self.tasks.into_iter().collect())));
        }
        if !self.events.is_empty() {
            members.push(("events".to_owned(), Yaml::List(self.events)));
        }
        write(&Yaml::Map(members))
    }
}

/// Translates all files of the plan; one of which nothing can be translated is copied.
pub(super) fn translate(plan: &Plan<'_>, files: &mut BTreeMap<String, Vec<u8>>, session: &mut Session) {
    let mut read_files: Vec<(Folder, Vec<Webhook>)> = Vec::new();
    // The plan has the project first, then the stages; a stage's own file must come before those of its services.
    let mut found: Vec<&Placed<'_>> = plan.placed.iter().filter(|placed| placed.path == V1_WEBHOOKS).collect();
    found.sort_by_key(|placed| (placed.folder.stage.is_some(), placed.folder.service.is_some()));
    for placed in found {
        let own = match read(placed.content) {
            Ok((own, odd)) => {
                for problem in odd {
                    session.notes.add(&placed.from, NoteSeverity::NotTranslated, format!("left out: {problem}"));
                }
                own
            }
            Err(problems) => {
                let message = format!("copied as it is, because it cannot be read: {}", listed(&problems));
                session.notes.add(&placed.from, NoteSeverity::NotTranslated, message);
                put(placed, files, &mut session.notes);
                continue;
            }
        };
        one(placed, own, &mut read_files, files, session);
    }
}

fn one(
    placed: &Placed<'_>,
    own: Vec<Webhook>,
    read_files: &mut Vec<(Folder, Vec<Webhook>)>,
    files: &mut BTreeMap<String, Vec<u8>>,
    session: &mut Session,
) {
    let mut translated = Translated::default();
    for webhook in &own {
        add(webhook, &placed.from, &mut translated, session);
    }
    let count = translated.count();
    let (inherited, replaces) = inherited(&placed.folder, &own, read_files);
    session.notes.hush(true);
    for webhook in &inherited {
        add(webhook, &placed.from, &mut translated, session);
    }
    session.notes.hush(false);
    if count == 0 && !replaces {
        let message = "copied as it is: nothing of it became a request";
        session.notes.add(&placed.from, NoteSeverity::NotTranslated, message);
        put(placed, files, &mut session.notes);
    } else {
        if translated.count() > count {
            let message = format!(
                "the requests of the stage and the project that it does not replace were added: Pilothouse reads the nearest `{WEBHOOKS_FILE}` only"
            );
            session.notes.add(&placed.from, NoteSeverity::Translated, message);
        }
        let message = "Keptn's subscription may have been for some stages and services only, which is not in the file: put the entry into the `webhooks.yaml` of these, or narrow it with `when`";
        session.notes.add(&placed.from, NoteSeverity::NotTranslated, message);
        put_new(placed, WEBHOOKS_FILE, translated.write(), files, &mut session.notes);
    }
    read_files.push((placed.folder.clone(), own.into_iter().chain(inherited).collect()));
}

/// Returns the webhooks that Keptn would look for farther away, and whether there are some that are replaced.
fn inherited(folder: &Folder, own: &[Webhook], read_files: &[(Folder, Vec<Webhook>)]) -> (Vec<Webhook>, bool) {
    let farther = folder.lookup().into_iter().skip(1);
    let nearest = farther.filter_map(|folder| read_files.iter().find(|(known, _)| *known == folder)).next();
    let Some((_, webhooks)) = nearest else { return (Vec::new(), false) };
    let replaced = |webhook: &&Webhook| own.iter().any(|it| it.subscription == webhook.subscription);
    let left: Vec<Webhook> = webhooks.iter().filter(|webhook| !replaced(webhook)).cloned().collect();
    let replaces = left.len() < webhooks.len();
    (left, replaces)
}

/// Adds what a webhook becomes.
fn add(webhook: &Webhook, from: &str, translated: &mut Translated, session: &mut Session) {
    let what = format!("webhook of subscription `{}`", webhook.subscription);
    if webhook.requests.is_empty() {
        return session.notes.add(from, NoteSeverity::NotTranslated, format!("{what}: it has no request"));
    }
    let mut made = Vec::new();
    for (number, request) in (1_usize..).zip(&webhook.requests) {
        match self::request(webhook, request, from, session) {
            Ok(request) => made.push(request),
            Err(reason) => {
                // Of several requests that belong together, none is better than some.
                let message = format!("{what}, request {number}: left out, {reason}");
                return session.notes.add(from, NoteSeverity::NotTranslated, message);
            }
        }
    }
    if let Err(reason) = place(webhook, &made, translated) {
        let snippet = write(&Yaml::map([("requests", Yaml::List(made))]));
        let message = format!("{what}: left out, {reason}; translated it is:\n{snippet}");
        session.notes.add(from, NoteSeverity::NotTranslated, message);
    }
}

/// Puts requests where the type of their event says.
fn place(webhook: &Webhook, made: &[Yaml], translated: &mut Translated) -> Result<(), String> {
    let Some(ty) = webhook.ty.as_deref() else {
        return Err("the file has no `type`, only Keptn's subscription knew the event".to_owned());
    };
    let ty = ty.strip_suffix('>').map_or_else(|| ty.to_owned(), |prefix| format!("{prefix}*"));
    if !is_keptn_type(&ty) || ty.strip_suffix('*').unwrap_or(&ty).contains('*') {
        return Err(format!("`{ty}` is no type that begins with `sh.keptn.` and has a `*` at its end alone"));
    }
    match parse_task_event(&ty) {
        Some((task, TaskEventKind::Triggered)) => {
            let [request] = made else {
                return Err(format!("it has {} requests for the task `{task}`, which can have one", made.len()));
            };
            if !webhook.send_finished {
                return Err(format!(
                    "without `sendFinished: true` the called system itself ends the task `{task}`, as an outside executor does (see Executors); if its answer is the end, put it below `tasks`"
                ));
            }
            if translated.tasks.contains_key(task.as_str()) {
                return Err(format!("the task `{task}` has a request already, and can have one"));
            }
            translated.tasks.insert(task.to_string(), request.clone());
        }
        _ => {
            let follows =
                made.iter().map(|request| Yaml::map([("type", ty.clone().into()), ("request", request.clone())]));
            translated.events.extend(follows);
        }
    }
    Ok(())
}

/// Makes one request.
fn request(webhook: &Webhook, request: &V1Request, from: &str, session: &mut Session) -> Result<Yaml, String> {
    let mut masked = Masked::default();
    let call = call(request, &mut masked)?;
    let made = request::make(&call, &masked)?;
    if !call.dropped.is_empty() {
        let message = format!(
            "webhook of subscription `{}`: curl's {} left out; the host has its own time limits and retries, checks certificates, and follows no redirect",
            webhook.subscription,
            call.dropped.iter().map(|option| format!("`{option}`")).collect::<Vec<_>>().join(", ")
        );
        session.notes.add(from, NoteSeverity::NotTranslated, message);
    }
    let name = connections::name(&made.needed, &webhook.secrets, from, session);
    let mut members = vec![("connection".to_owned(), name.into())];
    members.extend(made.members);
    Ok(Yaml::Map(members))
}

fn call(request: &V1Request, masked: &mut Masked) -> Result<Call, String> {
    match request {
        V1Request::Curl(text) => curl::command(&masked.mask(text)?),
        V1Request::Parts { url, method, headers, payload, options } => {
            let mut call = Call {
                method: Some(method.clone()),
                url: Some(masked.mask(url)?),
                data: payload.as_deref().map(|payload| masked.mask(payload)).transpose()?,
                ..Call::default()
            };
            for (name, value) in headers {
                call.headers.push((masked.mask(name)?, masked.mask(value)?));
            }
            let mut more = Call::default();
            if let Some(options) = options {
                curl::more_options(&masked.mask(options)?, &mut more)?;
            }
            if more.url.is_some() || more.data.is_some() || more.method.is_some() {
                return Err("its `options` change the address, the method or the body".to_owned());
            }
            call.headers.extend(more.headers);
            call.dropped = more.dropped;
            Ok(call)
        }
    }
}
