//! The lanes that are served beside the lane 0.

use fantail_wire::{LaneName, Lanes};

use crate::form::{Form, Shape, pieces};

/// Names of lanes, each once. The lane 0 needs no name.
pub(crate) struct LaneNames;

impl Form for LaneNames {
    type Value = Vec<LaneName>;
    const VALUE_NAME: &'static str = "NAME";
    const SHAPE: Shape = Shape::List;

    fn parse(&self, text: &str) -> Result<Vec<LaneName>, String> {
        let mut lanes: Vec<LaneName> = Vec::new();
        for piece in pieces(text) {
            let name = LaneName::parse(piece).map_err(|error| format!("{piece:?}: {error}"))?;
            if name == LaneName::default() {
                return Err(format!("the lane {piece} is always there; name the others"));
            }
            if lanes.contains(&name) {
                return Err(format!("the lane {piece} is given twice"));
            }
            lanes.push(name);
        }
        Lanes::named(lanes.iter().cloned()).map_err(|error| error.to_string())?;
        Ok(lanes)
    }

    fn show(&self, value: &Vec<LaneName>) -> String {
        value.iter().map(LaneName::as_str).collect::<Vec<_>>().join(",")
    }

    fn describe(&self) -> String {
        "names of letters and digits".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use fantail_wire::LANES_MAX;

    use super::*;

    #[test]
    fn lanes_are_named_once_and_the_lane_0_is_there_anyway() {
        let parse = |text: &str| LaneNames.parse(text).map(|lanes| LaneNames.show(&lanes));
        assert_eq!(parse("orders, users,"), Ok("orders,users".to_owned()));
        assert_eq!(parse(""), Ok(String::new()));
        let many = (0..LANES_MAX).map(|n| format!("l{n}")).collect::<Vec<_>>().join(",");
        for (text, reason) in [
            ("a,a", "the lane a is given twice"),
            ("0", "the lane 0 is always there"),
            ("a b", "\"a b\": a lane's name is made of 1 to 32 letters and digits"),
            (&many, "there are at most 64 lanes"),
        ] {
            assert!(parse(text).is_err_and(|fault| fault.starts_with(reason)), "{text}: {:?}", parse(text));
        }
    }
}
