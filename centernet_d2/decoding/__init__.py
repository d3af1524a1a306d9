"""Maps -> candidates; batch in, batch out."""
