package guard

import (
	"cmp"
	"net/http"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/platform/tracing"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// authenticate judges the credentials of r in a span of its own, and tells the request's span who calls.
func (g *Guard) authenticate(r *http.Request, original authn.Original) (*trust.State, []auth.Principal, error) {
	if !tracing.On() {
		return g.judge(r, original)
	}
	ctx, span := tracing.Start(r.Context(), "service.authenticate", tracing.Internal)
	defer span.End()
	st, principals, err := g.judge(r.WithContext(ctx), original)
	if err != nil {
		tracing.Annotate(ctx, tracing.Text("auth.method", string(MethodOf(r))))
		tracing.Fail(span, string(cmp.Or(auth.ReasonOf(err), "error")))
		return st, principals, err
	}
	attrs := tracing.Principal(principals[0])
	span.SetAttributes(attrs...)
	tracing.Annotate(r.Context(), attrs...)
	return st, principals, nil
}
