//! What people paste.

use super::{INTO, read};

const DOCUMENT: &str =
    "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: x\n";

fn text(pasted: &str) -> String {
    read(pasted).text.into_owned()
}

#[test]
fn documents_are_left_alone() {
    let script = "apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    cat <<EOF\n    ```\n    “x” it’s\n    EOF\n";
    for whole in [
        DOCUMENT,
        "",
        "\n\n",
        script,
        "# 1. one\n# 2. two\na: b\n",
        "1.5: x\n",
        "- apiVersion\n",
        "note: it's “so”\n",
        "note: \"he said “so”\"\n",
        "kind: x\n```\n",
    ] {
        let read = read(whole);
        assert!(read.notes.is_empty(), "{whole}: {:?}", read.notes);
        assert_eq!(read.text, whole);
    }
}

#[test]
fn numbers_and_bullets_go() {
    let numbered: String = (2..)
        .zip(DOCUMENT.lines())
        .map(|(n, line)| format!("    {n}. {line}\n"))
        .collect();
    assert_eq!(text(&numbered), DOCUMENT);
    assert_eq!(
        text(&format!("\n  mtls-strict.yaml\n\n1\n2\n{DOCUMENT}")).trim_start(),
        DOCUMENT
    );
    let column = format!("\n    1\n    2\n\n    3\n    4\n{DOCUMENT}");
    assert_eq!(text(&column).trim_start(), DOCUMENT);
    assert_eq!(text(&column).lines().count(), column.lines().count());
    for mark in ["• ", "2. ", "  * ", "1) "] {
        assert_eq!(text(&format!("{mark}{DOCUMENT}")), DOCUMENT, "{mark}");
    }
    let indented = DOCUMENT.replace('\n', "\n  ");
    assert_eq!(text(&format!("• {indented}")), format!("  {indented}"));
    assert_eq!(read(&format!("\n• {DOCUMENT}")).notes[0].0, 2);
}

#[test]
fn here_documents_and_fences_are_unwrapped() {
    for (before, after) in [
        ("kubectl apply -f - <<EOF\n", "EOF\n"),
        ("$ cat <<'EOF' | kubectl apply -f -\n", "EOF"),
        ("  kubectl apply --wait -f - <<-\"END\"\n", "  END\n"),
        ("```yaml\n", "```\n"),
    ] {
        let wrapped = format!("{before}{DOCUMENT}{after}");
        assert_eq!(
            text(&wrapped).trim_end(),
            format!("---\n{DOCUMENT}").trim_end()
        );
    }
    let two = format!("cat <<A\n{DOCUMENT}A\n\ncat <<B\n{DOCUMENT}B\n");
    assert_eq!(text(&two).matches("---").count(), 2);
    for into in [
        "kubectl apply -n shop -f - <<EOF",
        "cat <<EOF | kubectl -n=shop apply -f -",
        "$ kubectl --namespace shop create -f - <<EOF",
        "oc apply -f - --namespace=shop <<EOF",
    ] {
        let begin = format!("{INTO}shop\n");
        assert_eq!(
            text(&format!("{into}\n{DOCUMENT}---\n{DOCUMENT}EOF\n")).trim_end(),
            format!("{begin}{DOCUMENT}{begin}{DOCUMENT}").trim_end()
        );
    }
    for other in [
        format!("kubectl delete -f - <<EOF\n{DOCUMENT}EOF\n"),
        format!("cat <<EOF | kubectl diff -f -\n{DOCUMENT}EOF\n"),
        format!("kubectl apply --dry-run=client -f - <<EOF\n{DOCUMENT}EOF\n"),
        format!("kubectl apply -n $NS -f - <<EOF\n{DOCUMENT}EOF\n"),
        format!("cat <<EOF\n{DOCUMENT}"),
        format!("ls\ncat <<EOF\n{DOCUMENT}EOF\n"),
        format!("rm <<EOF\n{DOCUMENT}EOF\n"),
    ] {
        assert_eq!(text(&other), other);
    }
    let numbered = "1. $ cat <<EOF | kubectl apply -f -\n2. apiVersion: a\n3. kind: b\n4. EOF\n";
    assert_eq!(text(numbered), "---\napiVersion: a\nkind: b\n\n");
}

#[test]
fn the_end_of_a_here_document_goes_without_its_beginning() {
    for (pasted, read) in [
        (format!("{DOCUMENT}EOF\n"), format!("{DOCUMENT}\n")),
        (format!("{DOCUMENT}EOF\n\n"), format!("{DOCUMENT}\n\n")),
        (
            format!("{DOCUMENT}EOF\n\n{DOCUMENT}EOF"),
            format!("{DOCUMENT}---\n\n{DOCUMENT}"),
        ),
    ] {
        assert_eq!(text(&pasted), read);
    }
    for other in [
        format!("{DOCUMENT}EOF\n  more: x\n"),
        format!("{DOCUMENT}  EOF\n"),
        format!("cat <<EOF\n{DOCUMENT}EOF\n{DOCUMENT}EOF\n"),
    ] {
        assert_eq!(text(&other), other);
    }
}

#[test]
fn spaces_and_quotes_become_yaml() {
    assert_eq!(
        text("a:\n\u{a0}\u{a0}b:\u{a0}c\u{200b}\r\n"),
        "a:\n  b: c\r\n"
    );
    assert_eq!(
        text("kind: “a”\n“b”: c\nd: [“e”, “f”]\n- ‘g’\n"),
        "kind: \"a\"\n\"b\": c\nd: [\"e\", \"f\"]\n- 'g'\n"
    );
}
