//! A client that has a certificate and no token, as Istio's are after their first request.

use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore, crypto::aws_lc_rs::default_provider, sign::SingleCertAndKey,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower_service::Service;

use super::*;

/// TLS with a client's certificate.
#[derive(Clone)]
struct Dial {
    tls: TlsConnector,
    address: String,
}

impl Dial {
    fn new(settings: &CaClientSettings, svid: &Svid) -> Self {
        let roots = fs::read(&settings.roots).unwrap();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(&roots).map(Result::unwrap));
        let shown = Arc::new(SingleCertAndKey::from(Arc::clone(&svid.certified)));
        let mut config = ClientConfig::builder_with_provider(default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(store)
            .with_client_cert_resolver(shown);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            tls: Arc::new(config).into(),
            address: settings.address.to_string(),
        }
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { tls, address } = self.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            let name = "localhost".try_into().unwrap();
            Ok(TokioIo::new(tls.connect(name, stream).await?))
        })
    }
}

async fn ask(channel: &Channel) -> Result<CertificateResponse, tonic::Status> {
    let key = leaf::generate_key().unwrap();
    let csr = CertificateParams::default().serialize_request(&LeafKey(&key));
    let request = Request::new(CertificateRequest {
        csr: csr.unwrap().pem().unwrap(),
        validity_duration: 0,
        metadata: None,
    });
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<CertificateRequest, CertificateResponse>::default();
    let answer = grpc.unary(request, PathAndQuery::from_static(METHOD), codec);
    Ok(answer.await?.into_inner())
}

#[tokio::test]
async fn a_certificate_renews_itself_until_it_is_revoked() {
    let pair = Pair::new().await;
    let svid = pair.ask().await.unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", pair.settings.address)).unwrap();
    let connect = Dial::new(&pair.settings, &svid);
    let channel = endpoint.connect_with_connector(connect).await.unwrap();
    let renewed = ask(&channel).await.unwrap();
    let renewed = Answer::parse(&renewed).unwrap();
    assert_eq!(renewed.roots(), pair.bench.ca.roots());

    // Also on a connection that was there before.
    pair.bench.revoked.add(&svid.certified.cert);
    let refused = ask(&channel).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert!(
        refused.message().contains("shop/sa/web was revoked"),
        "{refused}"
    );
}
