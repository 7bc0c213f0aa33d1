//! What do the settings mean to the places that models come from?

use super::Config;

impl Config {
    /// Returns what the sources of models need to know.
    pub(crate) fn sources(&self) -> registry::Settings {
        let mut settings = registry::Settings {
            offline: self.hub.offline,
            token: self.hub.token.clone(),
            line: registry::Line::new(registry::CONNECTIONS, self.pull_rate),
            limit: self.pull_limit,
            hub_cache: self.hub.cache.clone(),
            stores: self.stores.clone(),
            registry: self.registries.default.clone(),
            insecure: self.registries.insecure.clone(),
            certificates: self.registries.certificates.clone(),
            credentials: self.registries.credentials.clone(),
            ..Default::default()
        };
        if let Some(endpoint) = &self.hub.endpoint {
            settings.endpoint.clone_from(endpoint);
        }
        if let Some(pip) = &self.pip {
            settings.pip = vec![pip.split_whitespace().map(str::to_owned).collect()];
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[test]
    fn settings_reach_the_sources() {
        let variable = |name: &str| {
            let value = match name {
                "HF_ENDPOINT" => "http://mirror/",
                "HF_TOKEN" => "hf_1",
                "HF_HUB_OFFLINE" => "1",
                "VECUNA_PIP" => "uv pip",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let sources = Config::load(&variable).unwrap().sources();
        assert_eq!(sources.endpoint, "http://mirror");
        assert_eq!(sources.token.as_deref(), Some("hf_1"));
        assert_eq!(sources.pip, [["uv", "pip"]]);
        assert!(sources.offline);
        assert!(!Config::load(&|_| None).unwrap().sources().offline);
    }
}
