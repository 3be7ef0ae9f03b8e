// The integers of training.procity.mesh.Surface (a test compares the two lists).
const int GENERIC = 0;
const int FACADE = 1;
const int ROAD = 2;
const int LEAF = 3;
const int CAR = 4;
const int LAMP = 5;
const int SIGN = 6;
const int WALK = 7;
const int ROOF = 8;
const int TAIL_LIGHT = 9;
const int SHOP = 10;
const int CAR_GLASS = 11;
const int CUT_OUT = 12;
const int PEDESTRIAN = 13;
const int MARKING = 14;
const int CAR_SHADOW = 15;
