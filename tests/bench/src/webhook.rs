//! Part 2: cost of a warm webhook request, from the request to the queue and back.

use crate::{
    Bench, callgrind,
    error::Result,
    figure::{Figure, Goal, Unit},
    functions::named,
    stats::Runs,
};

/// Measures the webhooks of WhatsApp and Telegram.
pub(crate) fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for name in ["webhook-whatsapp", "webhook-telegram"] {
        let function = named(name)?;
        let figure = |name: &str, unit, runs| Figure::new(&function.name, name, unit, runs);
        if !bench.short {
            for (world, over) in bench.worlds() {
                let warm =
                    bench.subject(&function, world)?.warm(bench.rounds, bench.invocations)?;
                let warm = figure(&format!("warm request, CPU{over}"), Unit::CpuMicroseconds, warm);
                figures.push(if world.root.is_none() {
                    warm.with(Goal::AtMost(100.0))
                } else {
                    warm
                });
            }
        }
        let subject = bench.subject(&function, &bench.plain)?;
        let counted = callgrind::count(&subject, bench.counted)?;
        figures.extend([
            figure(
                "start and first request",
                Unit::Instructions,
                Runs::once(counted.start.instructions),
            )
            .unsteady(),
            figure("warm request", Unit::Instructions, Runs::once(counted.each.instructions)),
            figure("warm request, heap", Unit::Allocations, Runs::once(counted.each.allocations)),
        ]);
    }
    Ok(figures)
}
