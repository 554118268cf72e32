//! Who asks and what they may: "Authenticating", "Managing Service Accounts", "Using RBAC Authorization".

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{Check, call::text, check, stage::Stage};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const ACCESS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

pub const CHECKS: &[Check] = &[
    check!(
        identity::tokens,
        "a token that was requested for an audience is authenticated for it, as its service account"
    ),
    check!(
        identity::audiences,
        "a token is not good for other audiences"
    ),
    check!(
        identity::bound_tokens,
        "a token that is bound to a pod names the pod, and is good only while the pod is there"
    ),
    check!(
        identity::bound_wrongly,
        "a token can't be bound to a pod of another uid (409) or one that isn't there (404)"
    ),
    check!(
        identity::short_tokens,
        "a token can't be requested for less than ten minutes: 422"
    ),
    check!(
        identity::nonsense_tokens,
        "nonsense is not authenticated, and says why"
    ),
    check!(
        identity::bad_credentials,
        "a bearer token that nobody knows is 401 Unauthorized"
    ),
    check!(
        identity::roles,
        "a service account may do what a role that is bound to it allows, and nothing else: 403 Forbidden"
    ),
    check!(
        identity::cluster_roles,
        "a cluster role that is bound in a namespace holds there only; resourceNames limit it"
    ),
    check!(
        identity::self_review,
        "SelfSubjectAccessReview says what one may"
    ),
    check!(
        identity::issuer,
        "the issuer's keys are published, and tokens name one of them"
    ),
];

/// Makes an account, and gives back a token for these audiences.
async fn account(stage: &Stage, name: &str, audiences: &[&str]) -> Result<String> {
    stage
        .api
        .create(
            &stage.path("serviceaccounts"),
            json!({"metadata": {"name": name}}),
        )
        .await?
        .is(201)?;
    token(
        stage,
        name,
        json!({"audiences": audiences, "expirationSeconds": 600}),
    )
    .await
}

async fn token(stage: &Stage, account: &str, spec: Value) -> Result<String> {
    let path = format!("{}/{account}/token", stage.path("serviceaccounts"));
    let made = stage
        .api
        .create(&path, json!({"spec": spec}))
        .await?
        .is(201)?
        .body;
    ensure!(
        made["kind"] == "TokenRequest" && made["status"]["expirationTimestamp"].is_string(),
        "{made}"
    );
    Ok(text(&made, "/status/token"))
}

async fn reviewed(stage: &Stage, token: &str, audiences: &[&str]) -> Result<Value> {
    let review = json!({"spec": {"token": token, "audiences": audiences}});
    Ok(stage.api.create(REVIEWS, review).await?.is(201)?.body["status"].clone())
}

pub async fn tokens(stage: Arc<Stage>) -> Result<()> {
    let token = account(&stage, "a", &["one", "two"]).await?;
    let status = reviewed(&stage, &token, &["two", "three"]).await?;
    ensure!(status["authenticated"] == true, "{status}");
    ensure!(status["audiences"] == json!(["two"]), "{status}");
    let expected = format!("system:serviceaccount:{}:a", stage.namespace);
    ensure!(text(&status, "/user/username") == expected, "{status}");
    let groups = status["user"]["groups"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for group in [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{}", stage.namespace),
    ] {
        ensure!(groups.contains(&json!(group)), "no {group}: {status}");
    }
    Ok(())
}

pub async fn audiences(stage: Arc<Stage>) -> Result<()> {
    let token = account(&stage, "a", &["one"]).await?;
    let status = reviewed(&stage, &token, &["other"]).await?;
    ensure!(
        status["authenticated"] != true && !text(&status, "/error").is_empty(),
        "{status}"
    );
    // Nor is it good for the API itself.
    let api = stage.cluster.with_token(Some(&token)).await?;
    api.get(&stage.path("pods"))
        .await?
        .fails(401, "Unauthorized")?;
    Ok(())
}

pub async fn bound_tokens(stage: Arc<Stage>) -> Result<()> {
    let node = stage.unique("node");
    let pod = stage.pod("a", Some(&node)).await?;
    let uid = text(&pod, "/metadata/uid");
    let reference = json!({"kind": "Pod", "apiVersion": "v1", "name": "a", "uid": uid});
    let token = token(
        &stage,
        "default",
        json!({"audiences": ["one"], "boundObjectRef": reference}),
    )
    .await?;
    let status = reviewed(&stage, &token, &["one"]).await?;
    ensure!(status["authenticated"] == true, "{status}");
    let extra = &status["user"]["extra"];
    ensure!(
        extra["authentication.kubernetes.io/pod-name"] == json!(["a"]),
        "{status}"
    );
    ensure!(
        extra["authentication.kubernetes.io/pod-uid"] == json!([uid]),
        "{status}"
    );
    let now = json!({"gracePeriodSeconds": 0}).to_string();
    stage
        .api
        .send(
            "DELETE",
            &format!("{}/a", stage.path("pods")),
            "application/json",
            now,
        )
        .await?
        .is(200)?;
    // The real server learns of the deletion from a watch.
    for _ in 0..60 {
        if reviewed(&stage, &token, &["one"]).await?["authenticated"] != true {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    bail!("the token is still good without its pod")
}

pub async fn bound_wrongly(stage: Arc<Stage>) -> Result<()> {
    stage.pod("a", None).await?;
    let path = format!("{}/default/token", stage.path("serviceaccounts"));
    let request = |name: &str, uid: &str| json!({"spec": {"audiences": ["one"], "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid}}});
    stage
        .api
        .create(&path, request("a", "00000000-0000-4000-8000-000000000000"))
        .await?
        .fails(409, "Conflict")?;
    stage
        .api
        .create(&path, request("none", ""))
        .await?
        .fails(404, "NotFound")?;
    Ok(())
}

pub async fn short_tokens(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}/default/token", stage.path("serviceaccounts"));
    let request = json!({"spec": {"audiences": ["one"], "expirationSeconds": 60}});
    stage
        .api
        .create(&path, request)
        .await?
        .fails(422, "Invalid")?;
    Ok(())
}

pub async fn nonsense_tokens(stage: Arc<Stage>) -> Result<()> {
    let good = account(&stage, "a", &["one"]).await?;
    let (head, _) = good.rsplit_once('.').context("no signature")?;
    for token in ["nonsense", "a.b.c", &format!("{head}.AAAA")] {
        let status = reviewed(&stage, token, &["one"]).await?;
        ensure!(status["authenticated"] != true, "{token}: {status}");
    }
    Ok(())
}

pub async fn bad_credentials(stage: Arc<Stage>) -> Result<()> {
    let api = stage.cluster.with_token(Some("nonsense")).await?;
    api.get("/api/v1/namespaces")
        .await?
        .fails(401, "Unauthorized")?;
    Ok(())
}

/// A token that is good for the API itself.
async fn api_token(stage: &Stage, name: &str) -> Result<String> {
    stage
        .api
        .create(
            &stage.path("serviceaccounts"),
            json!({"metadata": {"name": name}}),
        )
        .await?
        .is(201)?;
    token(stage, name, json!({"expirationSeconds": 600})).await
}

async fn bind(stage: &Stage, kind: &str, role: &str, account: &str) -> Result<()> {
    let binding = json!({
        "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": stage.namespace}],
    });
    let path = stage.path_of("rbac.authorization.k8s.io/v1", "rolebindings");
    stage.api.create(&path, binding).await?.is(201)?;
    Ok(())
}

/// Whether a request becomes allowed: the real server learns of roles from watches.
async fn allowed(api: &crate::call::Api, path: &str) -> Result<()> {
    for _ in 0..60 {
        if api.get(path).await?.code == 200 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    bail!("{path} stays forbidden")
}

pub async fn roles(stage: Arc<Stage>) -> Result<()> {
    let api = stage
        .cluster
        .with_token(Some(&api_token(&stage, "a").await?))
        .await?;
    let pods = stage.path("pods");
    let refused = api.get(&pods).await?.fails(403, "Forbidden")?;
    let message = text(&refused.body, "/message");
    let user = format!("system:serviceaccount:{}:a", stage.namespace);
    let expected = format!(
        "pods is forbidden: User \"{user}\" cannot list resource \"pods\" in API group \"\" in the namespace \"{}\"",
        stage.namespace
    );
    ensure!(message.starts_with(&expected), "{message}");
    let role = json!({"metadata": {"name": "reads"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]});
    stage
        .api
        .create(
            &stage.path_of("rbac.authorization.k8s.io/v1", "roles"),
            role,
        )
        .await?
        .is(201)?;
    bind(&stage, "Role", "reads", "a").await?;
    allowed(&api, &pods).await?;
    for path in [
        format!("{pods}?watch=true"),
        format!("{pods}/a"),
        stage.path("secrets"),
        "/api/v1/pods".into(),
    ] {
        api.get(&path).await?.fails(403, "Forbidden")?;
    }
    api.delete(&format!("{pods}/a"))
        .await?
        .fails(403, "Forbidden")?;
    Ok(())
}

pub async fn cluster_roles(stage: Arc<Stage>) -> Result<()> {
    let api = stage
        .cluster
        .with_token(Some(&api_token(&stage, "a").await?))
        .await?;
    let name = stage.unique("reads");
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    stage.remove_later(&format!("{path}/{name}"));
    let rules = json!([
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["one"]},
        {"apiGroups": [""], "resources": ["*"], "verbs": ["list"]},
    ]);
    stage
        .api
        .create(path, json!({"metadata": {"name": name}, "rules": rules}))
        .await?
        .is(201)?;
    stage.secret("one").await?;
    stage.secret("two").await?;
    bind(&stage, "ClusterRole", &name, "a").await?;
    allowed(&api, &stage.path("configmaps")).await?;
    api.get(&format!("{}/one", stage.path("secrets")))
        .await?
        .is(200)?;
    api.get(&format!("{}/two", stage.path("secrets")))
        .await?
        .fails(403, "Forbidden")?;
    api.get("/api/v1/configmaps")
        .await?
        .fails(403, "Forbidden")?;
    api.get("/api/v1/namespaces/default/configmaps")
        .await?
        .fails(403, "Forbidden")?;
    Ok(())
}

pub async fn self_review(stage: Arc<Stage>) -> Result<()> {
    let question = |verb: &str| {
        let attributes = json!({"verb": verb, "resource": "pods", "namespace": stage.namespace});
        json!({"spec": {"resourceAttributes": attributes}})
    };
    let ours = stage
        .api
        .create(ACCESS, question("list"))
        .await?
        .is(201)?
        .body;
    ensure!(ours["status"]["allowed"] == true, "{ours}");
    let api = stage
        .cluster
        .with_token(Some(&api_token(&stage, "a").await?))
        .await?;
    let theirs = api.create(ACCESS, question("list")).await?.is(201)?.body;
    ensure!(theirs["status"]["allowed"] == false, "{theirs}");
    Ok(())
}

pub async fn issuer(stage: Arc<Stage>) -> Result<()> {
    let configuration = stage
        .api
        .get("/.well-known/openid-configuration")
        .await?
        .is(200)?
        .body;
    ensure!(configuration["issuer"].is_string(), "{configuration}");
    let keys = stage.api.get("/openid/v1/jwks").await?.is(200)?.body;
    let ids: Vec<String> = keys["keys"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|key| text(key, "/kid"))
        .collect();
    let token = account(&stage, "a", &["one"]).await?;
    let decoded = |part: Option<&str>| -> Result<Value> {
        use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
        Ok(serde_json::from_slice(
            &BASE64_URL_SAFE_NO_PAD.decode(part.context("no part")?)?,
        )?)
    };
    let mut parts = token.split('.');
    let (head, claims) = (decoded(parts.next())?, decoded(parts.next())?);
    ensure!(
        ids.contains(&text(&head, "/kid")),
        "{head} is none of {ids:?}"
    );
    ensure!(
        claims["iss"] == configuration["issuer"] && claims["aud"] == json!(["one"]),
        "{claims}"
    );
    ensure!(
        claims["kubernetes.io"]["serviceaccount"]["name"] == "a",
        "{claims}"
    );
    Ok(())
}
