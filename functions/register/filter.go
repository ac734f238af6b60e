package register

import (
	"net/http"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/registry"
)

// filterParams are the parameters that narrow a list, but for those that may come more than once.
var filterParams = []string{"name", "environment", "region", "version", "status", "limit", "page_token", "fields"}

// metadataParam begins the name of a parameter that asks for a value of metadata: metadata.tier=gold.
const metadataParam = "metadata."

// filterOf reads the parameters that narrow a list.
func filterOf(r *http.Request, names []string) (registry.Filter, httpx.Values, error) {
	params, lists, err := httpx.QueryLists(r, func(name string) bool {
		return name == "tag" || strings.HasPrefix(name, metadataParam)
	}, names...)
	if err != nil {
		return registry.Filter{}, nil, err
	}
	limit, err := params.Int("limit", registry.DefaultPage, 1, registry.MaxPage)
	if err != nil {
		return registry.Filter{}, nil, err
	}
	filter := registry.Filter{
		Name: params["name"], Environment: auth.Environment(params["environment"]), Region: params["region"],
		Version: params["version"], Status: registry.Status(params["status"]), Limit: int(limit), PageToken: params["page_token"],
	}
	for name, values := range lists {
		key, metadata := strings.CutPrefix(name, metadataParam)
		switch {
		case !metadata:
			for _, tag := range values {
				if tag != "" {
					filter.Tags = append(filter.Tags, tag)
				}
			}
		case len(values) > 1:
			return registry.Filter{}, nil, httpx.InvalidRequest("the parameters are not what they must be",
				httpx.FieldError{Field: "metadata", Message: "a key has one value"})
		default:
			if filter.Metadata == nil {
				filter.Metadata = make(map[string]string, len(lists))
			}
			filter.Metadata[key] = values[0]
		}
	}
	return filter, params, nil
}
