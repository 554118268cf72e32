//! Streams of documents, good and bad.

use serde_json::json;

use super::*;

fn read(text: &str) -> Result<Vec<Document>, YamlError> {
    documents(text, &Budget::default()).collect()
}

fn values(text: &str) -> Vec<Value> {
    read(text).unwrap().into_iter().map(|d| d.value).collect()
}

fn failure(text: &str) -> (usize, usize, YamlProblem) {
    let error = read(text).unwrap_err();
    (error.line, error.document, error.problem)
}

#[test]
fn reads_documents_and_skips_those_without_content() {
    let text = "# only a comment\n---\na: 1\n---\n---\n# nothing\n---\n[x, {y: z}]\n...\n";
    let documents = read(text).unwrap();
    assert_eq!(documents[0].value, json!({"a": 1}));
    assert_eq!(documents[1].value, json!(["x", {"y": "z"}]));
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[0].index, 1);
    assert_eq!(documents[1].index, 4);
    assert!(values("").is_empty());
    assert!(values("\u{feff}# with a byte order mark\n").is_empty());
}

#[test]
fn json_is_yaml() {
    let text = r#"{"kind": "Pod", "n": [1, 2.5, true, null, "x\ny\u00e9"], "o": {}}"#;
    assert_eq!(
        values(text),
        [json!({"kind": "Pod", "n": [1, 2.5, true, null, "x\nyé"], "o": {}})]
    );
}

#[test]
fn keys_are_text_and_quoted_scalars_stay_text() {
    let text = "8080: a\ntrue: b\n'x y': \"true\"\nq: '80'\nblock: |\n  1\nempty:\n";
    assert_eq!(
        values(text),
        [
            json!({"8080": "a", "true": "b", "x y": "true", "q": "80", "block": "1\n", "empty": null})
        ]
    );
}

#[test]
fn every_node_knows_its_line() {
    let text = "a:\n  - b: 1\n    c:\n      d: x\n  - e\nf: &anchor\n  g: 1\nh: *anchor\n";
    let documents = read(text).unwrap();
    let root = documents[0].root();
    for (path, line) in [
        (FieldPath::default(), 1),
        (FieldPath::of("a"), 1),
        (FieldPath::of("a").index(0).key("b"), 2),
        (FieldPath::of("a").index(0).key("c").key("d"), 4),
        (FieldPath::of("a").index(1), 5),
        (FieldPath::of("f.g"), 7),
        (FieldPath::of("h"), 8),
        (FieldPath::of("h.g"), 7),
        (FieldPath::of("a").index(0).key("c").key("missing"), 3),
        (FieldPath::of("a").index(7), 1),
        (FieldPath::of("nowhere.at.all"), 1),
    ] {
        assert_eq!(root.line_of(&path), line, "{path}");
    }
}

#[test]
fn paths_print_so_that_they_can_be_read() {
    let path = FieldPath::of("items")
        .index(2)
        .key("metadata")
        .key("annotations")
        .key("sealane.dev/netns");
    assert_eq!(
        path.to_string(),
        "items[2].metadata.annotations[\"sealane.dev/netns\"]"
    );
    assert_eq!(FieldPath::default().to_string(), "");
}

#[test]
fn duplicate_keys_are_refused_with_both_lines() {
    let problem = YamlProblem::DuplicateKey {
        key: "a".to_owned(),
        first: 3,
    };
    assert_eq!(failure("x: 1\n---\na: 1\nb: 2\n'a': 3\n"), (5, 2, problem));
}

#[test]
fn what_others_read_differently_is_refused() {
    assert_eq!(
        failure("a: &x {b: 1}\nc:\n  <<: *x\n"),
        (3, 1, YamlProblem::MergeKey)
    );
    assert_eq!(values("'<<': 1"), [json!({"<<": 1})]);
    assert_eq!(
        failure("? [a]\n: b\n"),
        (1, 1, YamlProblem::KeyNotScalar(""))
    );
    assert_eq!(
        failure("k: &a x\n*a : b\n"),
        (2, 1, YamlProblem::KeyNotScalar(""))
    );
    for text in [
        "a: !custom x",
        "a: !!int x",
        "a: !!binary eA==",
        "a: !x [b]",
    ] {
        assert!(matches!(failure(text).2, YamlProblem::Tag(_)), "{text}");
    }
    assert_eq!(
        values("a: !!str 80\nb: !!int '7'\nc: !!map {}\nd: ! 8"),
        [json!({"a": "80", "b": 7, "c": {}, "d": "8"})]
    );
}

#[test]
fn aliases_are_copies_within_a_budget() {
    assert_eq!(
        values("a: &x [1, 2]\nb: *x\n"),
        [json!({"a": [1, 2], "b": [1, 2]})]
    );
    assert_eq!(failure("a: &x\n  - *x\n"), (2, 1, YamlProblem::LostAlias));
    assert_eq!(
        failure("a: &x 1\n---\nb: *x\n"),
        (3, 2, YamlProblem::LostAlias)
    );
    assert!(matches!(failure("b: *x\n").2, YamlProblem::Syntax(..)));
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let copies = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{copies}]\n"));
    }
    assert_eq!(failure(&bomb).2, YamlProblem::AliasBudget);
    let long = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(1 << 20),
        "*a, ".repeat(100)
    );
    assert_eq!(failure(&long).2, YamlProblem::AliasBudget);
}

#[test]
fn depth_is_limited_also_through_aliases() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(failure(&nested(MAX_DEPTH + 1)).2, YamlProblem::TooDeep);
    // The parser has a limit of its own, for what it looks ahead at.
    assert!(read(&nested(100_000)).is_err());
    let half = nested(MAX_DEPTH / 2 + 1);
    let inner = format!("{}*a{}", "[".repeat(70), "]".repeat(70));
    assert_eq!(
        failure(&format!("- &a {half}\n- {inner}\n")).2,
        YamlProblem::TooDeep
    );
}

#[test]
fn documents_before_an_error_are_read() {
    let mut stream = documents("a: 1\n---\nb: [1\n---\nc: 2\n", &Budget::default());
    assert!(stream.next().unwrap().is_ok());
    let error = stream.next().unwrap().unwrap_err();
    assert_eq!(error.document, 2);
    assert!(matches!(error.problem, YamlProblem::Syntax(..)));
    assert!(stream.next().is_none());
}

const SAMPLE: &str = r#"%YAML 1.2
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: "web", 'tier': x}, annotations: &a {k: !!str 1}}
spec:
  containers:
  - name: c
    command: ["sh", "-c", 'echo ''x''']
    env: [{name: A, value: |-
      text}]
  ? complex
  : >+
    folded

    text
status: *a
...
--- # next
- - 1
  - {a: b, ? c : d}
- "\u00e9\x41\
   continued"
- ~
"#;

/// Whatever the bytes, reading ends, and without a panic.
#[test]
fn mutated_documents_never_panic() {
    let mut random = fastrand::Rng::with_seed(7);
    let alphabet = b" \t\n\r:-?,[]{}#&*!|>'\"%@`\\<~.0aA\x00\xef\xbb\xbf\xc3";
    for round in 0..30_000 {
        let mut bytes = SAMPLE.as_bytes().to_vec();
        if round % 3 == 0 {
            bytes.truncate(random.usize(..bytes.len()));
        }
        for _ in 0..random.usize(..8) {
            if bytes.is_empty() {
                break;
            }
            let at = random.usize(..bytes.len());
            let byte = alphabet[random.usize(..alphabet.len())];
            match random.u8(..4) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => {
                    let end = (at + random.usize(..40)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    let to = random.usize(..bytes.len());
                    drop(bytes.splice(to..to, piece));
                }
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        for document in documents(&text, &Budget::default()) {
            let Ok(document) = document else { continue };
            assert!(document.root().line() <= text.lines().count() + 1);
        }
    }
}

/// Short texts over the characters that mean something, all of them.
#[test]
fn all_short_texts_are_survived() {
    let alphabet = b"a \n:-?[]{},&*!|>'\"%#\t";
    let base = alphabet.len();
    for length in 1..=4_u32 {
        for number in 0..base.pow(length) {
            let mut rest = number;
            let mut bytes = Vec::new();
            for _ in 0..length {
                bytes.push(alphabet[rest % base]);
                rest /= base;
            }
            let text = String::from_utf8(bytes).unwrap();
            let _ = documents(&text, &Budget::default()).count();
        }
    }
}
