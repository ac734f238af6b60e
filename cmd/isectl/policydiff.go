package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
)

// writeChanges tells what two policies answer differently, what widens first.
func writeChanges(w io.Writer, c policy.Comparison) {
	if c.Same() {
		fmt.Fprintln(w, "no decision changes")
		return
	}
	for _, change := range c.Changes {
		mark := ""
		if change.Widens {
			mark = "WIDENS"
		}
		fmt.Fprintf(w, "%s\t%s\n", mark, strings.Join(changeColumns(change), "\t"))
	}
	if c.Omitted > 0 {
		fmt.Fprintf(w, "\t… and %d more (--limit)\n", c.Omitted)
	}
	fmt.Fprintf(w, "of all combinations of caller, target, environment, method, path and scope %d are allowed that were not, %d no longer; %d rates and %d names change\n",
		c.Added, c.Removed, c.Rates, c.Names)
	if c.Widens {
		fmt.Fprintln(w, "This policy WIDENS what is allowed.")
	} else {
		fmt.Fprintln(w, "This policy allows nothing that is not allowed now.")
	}
}

// changeColumns tells one change.
func changeColumns(c policy.Change) []string {
	became := cmp.Or(c.From, "nothing") + " -> " + cmp.Or(c.To, "nothing")
	switch c.Kind {
	case policy.AccountMapped:
		return []string{"~ service account " + c.Name, became}
	case policy.AliasMapped:
		return []string{"~ alias " + c.Name, became}
	}
	ends := c.Caller + " -> " + c.Target
	where := []string{environmentText(c.Environments), listText("method", c.Methods), listText("path", c.Paths)}
	switch c.Kind {
	case policy.RateChanged:
		rate := func(s string) string { return cmp.Or(s, "the platform's") }
		return append(append([]string{"~ " + ends}, where...), "rate "+rate(c.From)+" -> "+rate(c.To))
	case policy.AccessAdded:
		ends = "+ " + ends
	default:
		ends = "- " + ends
	}
	what := strings.Join(c.Scopes, " ")
	if c.Way {
		what = strings.TrimSpace("the way itself, " + what)
	}
	return append(append([]string{ends}, where...), strings.Trim(what, ", "))
}

func environmentText(list []auth.Environment) string {
	if len(list) == 0 {
		return "everywhere"
	}
	names := make([]string, len(list))
	for i, env := range list {
		names[i] = string(env)
	}
	return strings.Join(names, ",")
}

// listText tells methods or paths; none stand for all.
func listText(kind string, list []string) string {
	if len(list) == 0 {
		return "any " + kind
	}
	said := make([]string, len(list))
	for i, name := range list {
		switch name {
		case policy.Others:
			name = "(any other " + kind + ")"
		case policy.Unreadable:
			name = "(an unclear " + kind + ")"
		}
		said[i] = name
	}
	return strings.Join(said, ",")
}
