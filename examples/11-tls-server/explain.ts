/**
 * What the codes of a failed handshake mean, in a sentence. Those of a certificate are OpenSSL's
 * own; `ERR_SSL_…ALERT…` is what the other side said, any other `ERR_SSL_…` what we found.
 */

/** What Node adds to an error of TLS. */
type TlsError = Error & {
  code?: string;
  /** OpenSSL's reason. The message has it too, between numbers and a file name. */
  reason?: string;
  host?: string;
  cert?: { subjectaltname?: string | undefined };
};

const UNKNOWN_CA = 'its certificate is signed by a CA that is not trusted here';
const NOT_TLS = 'what answers there does not speak TLS';
const TOO_OLD = 'it speaks neither TLS 1.2 nor 1.3';
const NOTHING_IN_COMMON =
  'it refuses the handshake: no cipher in common, or it wants a certificate';

const SENTENCES: Record<string, string> = {
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_CA,
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_CA,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_CA,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_CA,
  CERT_SIGNATURE_FAILURE: 'its certificate is not signed by the CA that it names',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is signed by itself: nobody vouches for it',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet; is the clock right?',
  INVALID_PURPOSE: 'its certificate is for another purpose',
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: TOO_OLD,
  ERR_SSL_UNSUPPORTED_PROTOCOL: TOO_OLD,
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE: NOTHING_IN_COMMON,
  'ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE': NOTHING_IN_COMMON,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'it wants a client certificate, and got none',
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: 'it does not trust the CA of the client certificate',
  ERR_SSL_WRONG_VERSION_NUMBER: NOT_TLS,
  ERR_SSL_UNEXPECTED_MESSAGE: NOT_TLS,
};

/** The sentence with its code for an error of TLS, `undefined` for any other. */
export function explainTls(error: TlsError): string | undefined {
  const { code = '', host, cert } = error;
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const names = printable(cert?.subjectaltname ?? 'no name at all');
    return `its certificate is for ${names}, not for ${host} (${code})`;
  }
  const sentence = SENTENCES[code];
  if (sentence !== undefined) return `${sentence} (${code})`;
  return code.startsWith('ERR_SSL_') ? `the handshake failed: ${reason(error)}` : undefined;
}

/** The error in one line: OpenSSL's messages end with a line break. */
export function reason({ code, reason, message }: TlsError): string {
  return reason === undefined ? message.trimEnd() : `${reason} (${code})`;
}

/** What a peer wrote into its certificate must not command the terminal, nor fill it. */
export function printable(text: string): string {
  const shown = text.replace(/\p{C}/gu, '\ufffd');
  return shown.length > 200 ? `${shown.slice(0, 200)}…` : shown;
}
