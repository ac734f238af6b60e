# What the authorizer judges about a token, for OPA: signature, issuer, audience, times and form, who is
# revoked or quarantined, who may call whom, and with which scopes.
package authz

default allow := false

allow if {
	[valid, header, claims] := io.jwt.decode_verify(input.token, {
		"cert": data.bench.jwks,
		"iss": "isectech-platform",
		"aud": input.target,
		"alg": "ES256",
	})
	valid
	header.typ == "at+jwt"
	claims.sub == claims.service_name
	claims.sub == claims.client_id
	claims.exp - claims.iat <= 900
	not data.bench.revoked[claims.jti]
	not data.bench.quarantined[claims.sub]
	not data.bench.quarantined[input.target]
	claims.environment in data.bench.edges[claims.sub][input.target]
	granted := data.bench.grants[claims.sub]
	every scope in input.scopes {
		scope in claims.scopes
		scope in granted
	}
}
