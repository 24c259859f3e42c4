//! The list of providers: the only place that names them all.

use crate::entry::ProviderEntry;

/// The simulated providers, in the order in which they are offered a request. `WhatsApp` is the
/// last: it answers every other path, as the Graph API answers unknown paths.
pub const PROVIDERS: &[ProviderEntry] = &[
    ProviderEntry::of::<crate::telegram::Telegram>(),
    ProviderEntry::of::<crate::evolution::Evolution>(),
    ProviderEntry::of::<crate::twilio::Twilio>(),
    ProviderEntry::of::<crate::infobip::Infobip>(),
    ProviderEntry::of::<crate::bsp::Bsp>(),
    ProviderEntry::of::<crate::automation::Automations>(),
    ProviderEntry::of::<crate::whatsapp::WhatsApp>(),
];
