//! TLVs of PROXY headers.

use serde::{Deserialize, Serialize};

/// The TLVs of a header; absent ones are left out. If a TLV is there twice, the first counts, and the second is
/// among `other`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct TlvsJson {
    /// Application protocol; bytes that are not UTF-8 are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
    /// Host name the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The connection's identifier, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
    /// The client's TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssl: Option<SslJson>,
    /// The name of a network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// The endpoint of AWS: `vpce-…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_vpc_endpoint_id: Option<String>,
    /// `LINKID` of Azure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure_private_link_id: Option<u32>,
    /// The connection's identifier of Google Cloud, in decimal. It is text, since JSON numbers are exact to 53 bits only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcp_psc_connection_id: Option<String>,
    /// All others, each with `type`, and `value` in hexadecimal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other: Vec<OtherJson>,
}

/// `PP2_TYPE_SSL`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct SslJson {
    /// Bits of `PP2_CLIENT`.
    pub client: u8,
    /// 0, if the client's certificate was verified.
    pub verify: u32,
    /// The version of TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Common name of the client's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cn: Option<String>,
    /// The cipher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher: Option<String>,
    /// Signature of the load balancer's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sig_alg: Option<String>,
    /// Key of the load balancer's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_alg: Option<String>,
    /// Key exchange group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Signature scheme of the handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sig_scheme: Option<String>,
    /// The client's certificate, DER, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<String>,
    /// All others, each with `type`, and `value` in hexadecimal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other: Vec<OtherJson>,
}

/// A TLV as raw bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OtherJson {
    /// The type, for example `0xe4`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Hexadecimal.
    pub value: String,
}
