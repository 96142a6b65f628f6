//! The codec's rules as tables (rows numbered as in the list of bad inputs), its properties, and a comparison with
//! `cloudevents-sdk`.

mod property;
mod sdk;
mod table;
