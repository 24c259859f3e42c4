//! Limits of buttons and lists on WhatsApp, through any provider.
//!
//! <https://developers.facebook.com/docs/whatsapp/cloud-api/guides/send-messages#interactive-messages>

use domain::content::{Choice, Interactive, Section};
use domain::sender::SendError;

use crate::http::{check_length, check_max_length, invalid};

/// Checks that WhatsApp can display `interactive`.
pub(crate) fn check(interactive: &Interactive) -> Result<(), SendError> {
    let (header, body, footer) = match interactive {
        Interactive::Button { body, header, footer, buttons } => {
            check_buttons(buttons)?;
            (header, body, footer)
        }
        Interactive::List { body, header, footer, button, sections } => {
            check_length("interactive.button", button, 20)?;
            check_sections(sections)?;
            (header, body, footer)
        }
    };
    check_length("interactive.body", body, 1024)?;
    if let Some(header) = header {
        check_length("interactive.header", header, 60)?;
    }
    if let Some(footer) = footer {
        check_length("interactive.footer", footer, 60)?;
    }
    Ok(())
}

fn check_buttons(buttons: &[Choice]) -> Result<(), SendError> {
    const FIELD: &str = "interactive.buttons";
    if !(1..=3).contains(&buttons.len()) {
        return Err(invalid(FIELD, "must have 1 to 3 buttons; a list can have up to 10 rows"));
    }
    unique(FIELD, buttons.iter().map(|button| &*button.id))?;
    unique(FIELD, buttons.iter().map(|button| &*button.title))?;
    buttons.iter().try_for_each(|button| {
        check_choice(FIELD, button, 256, 20)?;
        if button.description.is_some() {
            return Err(invalid(FIELD, "must not have a description; only list rows can"));
        }
        Ok(())
    })
}

fn check_sections(sections: &[Section]) -> Result<(), SendError> {
    const FIELD: &str = "interactive.sections";
    let rows = || sections.iter().flat_map(|section| &section.rows);
    if !(1..=10).contains(&rows().count()) || sections.iter().any(|s| s.rows.is_empty()) {
        return Err(invalid(FIELD, "must have 1 to 10 rows in total, at least one per section"));
    }
    unique(FIELD, rows().map(|row| &*row.id))?;
    for section in sections {
        if sections.len() > 1 && section.title.is_empty() {
            return Err(invalid(FIELD, "must each have a title if there is more than one section"));
        }
        check_max_length(FIELD, &section.title, 24)?;
    }
    rows().try_for_each(|row| check_choice(FIELD, row, 200, 24))
}

fn check_choice(
    field: &'static str,
    choice: &Choice,
    max_id: usize,
    max_title: usize,
) -> Result<(), SendError> {
    check_length(field, &choice.id, max_id)?;
    check_length(field, &choice.title, max_title)?;
    check_max_length(field, choice.description.as_deref().unwrap_or_default(), 72)
}

fn unique<'a>(field: &'static str, values: impl Iterator<Item = &'a str>) -> Result<(), SendError> {
    let mut seen = std::collections::BTreeSet::new();
    for value in values {
        if !seen.insert(value) {
            return Err(invalid(field, "must not contain the same id or title twice"));
        }
    }
    Ok(())
}
