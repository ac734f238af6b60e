package main

import (
	"context"

	"github.com/isectech/service-networking/test/figure"
)

func (b *bench) inProcess(context.Context) ([]figure.Figure, error) { return nil, nil }
