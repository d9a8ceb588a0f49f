// SPDX-License-Identifier: MIT

package config

import "strconv"

func (b *builder) routeMetric(value string) {
	n, err := strconv.ParseUint(value, 0, 32)
	if err != nil || n == 0 {
		b.fail("%s is not a metric: a number from 1 to 4294967295", shown(value))
		return
	}
	b.scalar()
	b.cfg.Interface.RouteMetric = uint32(n)
}

func (b *builder) routeAggregation(value string) {
	if on, ok := b.onOff(value); ok {
		b.cfg.Interface.RouteAggregation = on
	}
}
