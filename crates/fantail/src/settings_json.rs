//! The settings in force as JSON: what `/config` answers. Secrets are hidden.

use fantail_config::Config;
use serde_json::{Value, json};

/// One member for each setting: its value, the layer that decided it, and the place there.
pub(crate) fn settings_json(config: &Config) -> Value {
    let settings = config.effective().into_iter().map(|setting| {
        let told = json!({ "value": setting.value, "source": setting.source.to_string(), "place": setting.place });
        (setting.key.to_owned(), told)
    });
    Value::Object(settings.collect())
}
