//! Two meshes that know nothing of each other and trust a third root, as in the article on it: what leaves one as plain
//! HTTP arrives in the other as plain HTTP, and between them there is mutual TLS.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    Agent, Gateway, HostName, NodeName, Pod, PodSpec,
    apps::{Answer, Capture, Curl, Exit, Nginx},
    objects::{MESH, ROOT},
    pcap::readable,
    pki::{LeafFiles, OpensslRoot},
    until,
};

use super::gateways::secret;
use crate::stage::{GREETING, SOON, Stage};

const SERVICE: u16 = 5000;
const CREDENTIAL: &str = "cluster-b-server-cert";

/// Mesh A has the client, mesh B the gateway and the service behind it.
struct Meshes<'a> {
    stage: &'a Stage<'a>,
    host: HostName,
    customer: Pod,
    stranger: Pod,
    edge: Pod,
    helloworld: Pod,
    _agents: [Agent; 2],
    client: LeafFiles,
    server: LeafFiles,
    _gateway: Gateway,
    _nginx: Nginx,
}

impl<'a> Meshes<'a> {
    fn new(stage: &'a Stage<'a>) -> Result<Self> {
        let world = stage.world;
        let host = HostName::new(&world.run);
        let directory = world.scratch("third-root")?;
        let root = OpensslRoot::new(&directory)?;
        let client = root.leaf("cluster-a-client", host.as_str())?;
        let server = root.leaf("cluster-b-server", host.as_str())?;

        let pod = |spec| -> Result<Pod> {
            let pod = world.unpublished_pod(spec)?;
            world.objects.pod_at_home(&pod.manifest())?;
            Ok(pod)
        };
        let customer = pod(PodSpec::new(NodeName::A, MESH, "customer"))?;
        let stranger = pod(PodSpec::stranger(NodeName::A, "stranger"))?;
        let edge = pod(PodSpec {
            sandbox: false,
            ..PodSpec::new(NodeName::B, ROOT, "ingressgateway")
        })?;
        let helloworld = pod(PodSpec::new(NodeName::B, MESH, "helloworld"))?;
        host.lead_to(edge.ip(stage.family))?;

        let objects = &world.objects;
        objects.raw_on(NodeName::A, "mesh-a.yaml", &mesh_a(host.as_str(), &client))?;
        objects.raw_on(NodeName::B, "mesh-b.yaml", &mesh_b(host.as_str()))?;
        let another = world.scratch("ca-of-b")?;
        let another = another.to_string_lossy();
        let mut agents = [
            Agent::start(world, NodeName::A, &[])?,
            Agent::start(world, NodeName::B, &["--ca-dir", &another])?,
        ];
        for agent in &mut agents {
            agent.wait_ready()?;
        }
        agents[0].wait_enrolled(&customer, true)?;
        agents[1].wait_enrolled(&helloworld, true)?;
        let nginx = Nginx::http(world, &helloworld, SERVICE, GREETING)?;
        let mut gateway = Gateway::start(world, &edge, &["--label", "istio=ingressgateway"])?;
        gateway.wait_ready()?;
        let meshes = Self {
            stage,
            host,
            customer,
            stranger,
            edge,
            helloworld,
            _agents: agents,
            client,
            server,
            _gateway: gateway,
            _nginx: nginx,
        };
        meshes.publish(Some(&meshes.server.root))?;
        Ok(meshes)
    }

    /// The Secret of mesh B: `kubectl create secret generic … --from-file=key=… --from-file=cert=… --from-file=cacert=…`.
    fn publish(&self, root: Option<&Path>) -> Result<()> {
        let LeafFiles {
            certificate, key, ..
        } = &self.server;
        let mut files = vec![("key", &**key), ("cert", &**certificate)];
        files.extend(root.map(|root| ("cacert", root)));
        let text = secret(ROOT, CREDENTIAL, &files)?;
        let objects = &self.stage.world.objects;
        objects.raw_on(NodeName::B, "secret.yaml", &text)
    }

    fn https(&self) -> String {
        format!("https://{}/", self.host.as_str())
    }

    /// What the application does: plain HTTP.
    fn get(&self) -> Result<Answer> {
        Curl::new(&self.customer)?.get(&format!("http://{}/", self.host.as_str()))
    }

    fn wait_ok(&self, what: &str) -> Result<()> {
        let mut last = None;
        until(what, SOON, || {
            let answer = self.get()?;
            let ok = answer.expect_ok(GREETING).is_ok();
            last = Some(answer);
            Ok(ok.then_some(()))
        })
        .with_context(|| format!("{last:?}"))
    }
}

/// Without the root's certificate nobody is let in, and nobody is once the root is taken away.
pub fn cross_mesh(stage: &Stage<'_>) -> Result<()> {
    let meshes = Meshes::new(stage)?;
    let world = stage.world;
    meshes.wait_ok("the way from mesh to mesh")?;

    let between = Capture::start(world, &meshes.edge, 443)?;
    let inside = Capture::start(world, &meshes.helloworld, SERVICE)?;
    meshes.get()?.expect_ok(GREETING)?;
    let between = between.finish()?;
    ensure!(!between.is_empty(), "nothing was captured");
    ensure!(!readable(&between, GREETING), "in clear: {between:?}");
    // The gateway's pod is not in mesh B: behind it is plaintext, as the article has it.
    ensure!(
        readable(&inside.finish()?, GREETING),
        "not in clear behind the gateway"
    );

    let https = meshes.https();
    let curl = || Curl::new(&meshes.stranger);
    let bare = curl()?
        .arg("--cacert")
        .arg(&meshes.client.root)
        .get(&https)?;
    let refused = bare.is_reset() || bare.exit == Some(Exit::TLS_CONNECT_ERROR);
    ensure!(refused, "without a certificate: {bare:?}");
    curl()?
        .certificate(&meshes.client)
        .get(&https)?
        .expect_ok(GREETING)?;
    let clear = curl()?.get(&format!("http://{}/", meshes.host.as_str()))?;
    ensure!(clear.status == 301, "{clear:?}");

    forgets(&meshes)
}

/// The third root is taken away, and another put in its place: it isn't trusted any more.
fn forgets(meshes: &Meshes<'_>) -> Result<()> {
    meshes.publish(None)?;
    until("clients to be refused without the third root", SOON, || {
        Ok((meshes.get()?.status == 0).then_some(()))
    })?;
    let directory = meshes.stage.world.scratch("another-root")?;
    let other = OpensslRoot::new(&directory)?.leaf("other", meshes.host.as_str())?;
    meshes.publish(Some(&other.root))?;
    // The gateway's own certificate is still of the third root.
    let other = LeafFiles {
        root: meshes.server.root.clone(),
        ..other
    };
    until("another root's clients to be let in", SOON, || {
        let curl = Curl::new(&meshes.stranger)?.certificate(&other);
        let answer = curl.get(&meshes.https())?;
        Ok(answer.expect_ok(GREETING).is_ok().then_some(()))
    })?;
    ensure!(meshes.get()?.status == 0, "the third root is trusted still");

    meshes.publish(Some(&meshes.server.root))?;
    meshes.wait_ok("the third root again")
}

/// As the reference has them.
const MESH_A: &str = include_str!("third_root/mesh-a.yaml");
const MESH_B: &str = include_str!("third_root/mesh-b.yaml");

fn mesh_a(host: &str, client: &LeafFiles) -> String {
    let show = |path: &Path| path.display().to_string();
    let text = MESH_A.replace("{MESH}", MESH).replace("{host}", host);
    text.replace("{certificate}", &show(&client.certificate))
        .replace("{key}", &show(&client.key))
        .replace("{root}", &show(&client.root))
}

fn mesh_b(host: &str) -> String {
    let text = MESH_B.replace("{MESH}", MESH).replace("{ROOT}", ROOT);
    text.replace("{host}", host)
        .replace("{SERVICE}", &SERVICE.to_string())
        .replace("{CREDENTIAL}", CREDENTIAL)
}
